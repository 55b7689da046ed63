package mysql

import (
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

// Only numbers that the server would read as another one are written apart from the document.
func TestDecimalsInDocuments(t *testing.T) {
	for text, want := range map[string]string{
		`1.50`:                         `JSON_REPLACE(CAST('1.50' AS JSON),'$',1.50)`,
		`{"a": [1, {"b\"": -7.000}]}`:  `JSON_REPLACE(CAST('{"a": [1, {"b\\"": -7.000}]}' AS JSON),'$."a"[1]."b\\""',-7.000)`,
		`{"it's": 0.10, "b": 1e300}`:   `JSON_REPLACE(CAST('{"it\'s": 0.10, "b": 1e300}' AS JSON),'$."it\'s"',0.10)`,
		`[12345678901234567890.123]`:   `JSON_REPLACE(CAST('[12345678901234567890.123]' AS JSON),'$[0]',12345678901234567890.123)`,
		`[99999999999999999999, 1.00]`: `JSON_REPLACE(CAST('[99999999999999999999, 1.00]' AS JSON),'$[0]',99999999999999999999,'$[1]',1.00)`,
		`[0.1, 1.0, -0.0, 1.5e-7, 18446744073709551615, -9223372036854775808, 123456.789]`: "",
		`"1.50"`: "", `{"1.50": "\"1.50"}`: "", `{}`: "", `[]`: "", `null`: "", `[true, false]`: "",
		`[1.50`: "", `{"a" 1.50}`: "", `"1.50\`: "", `[1.50] [1.50]`: "", ``: "", // no documents
	} {
		if want == "" {
			want = string(appendQuoted(nil, []byte(text)))
		}
		if got := string(appendValue(nil, change.StringValue(text), change.JSON)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// The walk ends, within the text, whatever the text is, and what it puts outside of quotes are plain numbers.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`{"a": [1, {"b\"": -7.000}], "c": null}`))
	f.Add([]byte(`[[[[1.50,`))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := jsonWalk{text: text, path: []byte("$")}
		if !w.value(0) || w.at != len(text) || len(w.found) == 0 {
			return
		}
		for _, d := range w.found {
			if !plainNumber(d.number) {
				t.Errorf("%q: %q is no number", text, d.number)
			}
		}
	})
}
