package rowimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawNode draws a tree and gives the text that it must print as, written the simple way.
func drawNode(t *rapid.T, depth int) (*jsonNode, string) {
	kinds := []string{"literal", "int16", "uint16", "int32", "uint32", "int64", "uint64", "double", "string", "opaque", "array", "object"}
	if depth > 4 {
		kinds = kinds[:len(kinds)-2]
	}
	number := func(kind byte, n uint64, size int, text string) (*jsonNode, string) {
		return &jsonNode{kind: kind, value: binary.LittleEndian.AppendUint64(nil, n)[:size]}, text
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "literal":
		literal := rapid.SampledFrom([]byte{jsonNull, jsonTrue, jsonFalse}).Draw(t, "literal")
		return &jsonNode{kind: jsonLiteral, value: []byte{literal}}, [...]string{"null", "true", "false"}[literal]
	case "int16":
		n := rapid.Int16().Draw(t, "n")
		return number(jsonInt16, uint64(n), 2, fmt.Sprint(n))
	case "uint16":
		n := rapid.Uint16().Draw(t, "n")
		return number(jsonUint16, uint64(n), 2, fmt.Sprint(n))
	case "int32":
		n := rapid.Int32().Draw(t, "n")
		return number(jsonInt32, uint64(n), 4, fmt.Sprint(n))
	case "uint32":
		n := rapid.Uint32().Draw(t, "n")
		return number(jsonUint32, uint64(n), 4, fmt.Sprint(n))
	case "int64":
		n := rapid.Int64().Draw(t, "n")
		return number(jsonInt64, uint64(n), 8, fmt.Sprint(n))
	case "uint64":
		n := rapid.Uint64().Draw(t, "n")
		return number(jsonUint64, n, 8, fmt.Sprint(n))
	case "double":
		return number(jsonDouble, math.Float64bits(0.5), 8, "0.5")
	case "opaque":
		return &jsonNode{kind: jsonOpaque, value: []byte{wireBit, 1, 5}}, `"base64:type16:BQ=="`
	case "array":
		return drawContainer(t, depth, false)
	case "object":
		return drawContainer(t, depth, true)
	}
	text := rapid.StringMatching(`[a-zä]{0,200}`).Draw(t, "text")
	return &jsonNode{kind: jsonString, value: append(binary.AppendUvarint(nil, uint64(len(text))), text...)}, `"` + text + `"`
}

func drawContainer(t *rapid.T, depth int, object bool) (*jsonNode, string) {
	n := &jsonNode{kind: jsonSmallArray}
	if object {
		n.kind = jsonSmallObject
	}
	texts := map[string]string{}
	var list []string
	count := rapid.IntRange(0, 5).Draw(t, "count")
	if depth == 0 && rapid.IntRange(0, 10).Draw(t, "large") == 0 {
		count = 400 // with texts of 200 bytes: past 64 KiB
	}
	for range count {
		element, text := drawNode(t, depth+1+count/100*4)
		if object {
			name := rapid.StringMatching(`[a-c]{0,3}`).Draw(t, "name")
			if n.insert(&jsonLeg{name: []byte(name)}, element) != nil {
				continue // drawn before
			}
			texts[name] = text
			continue
		}
		if err := n.insert(&jsonLeg{array: true, index: len(list)}, element); err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	if !object {
		return n, "[" + strings.Join(list, ", ") + "]"
	}
	for _, name := range n.names {
		list = append(list, strconv.Quote(string(name))+": "+texts[string(name)])
	}
	return n, "{" + strings.Join(list, ", ") + "}"
}

// TestTreeIsWrittenAndRead writes random trees: they print as they should and read back to the same bytes.
func TestTreeIsWrittenAndRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root, want := drawNode(t, 0)
		document, err := root.document()
		if err != nil {
			t.Fatal(err)
		}
		got, err := AppendJSON([]byte("x"), document)
		if err != nil || string(got) != "x"+want {
			t.Fatalf("% x prints as %q, %v; want %q", document, got, err, want)
		}
		again, err := parseJSON(document)
		if err != nil {
			t.Fatal(err)
		}
		written, err := again.document()
		if err != nil || !bytes.Equal(written, document) {
			t.Fatalf("read and written again % x, %v; was % x", written, err, document)
		}
		// What is cut off is missed, never read past.
		if cut := rapid.IntRange(1, len(document)-1).Draw(t, "cut"); cut < len(document) {
			if text, err := AppendJSON([]byte("kept"), document[:cut]); err != nil && string(text) != "kept" {
				t.Fatalf("after an error dst is %q", text)
			}
		}
	})
}

// TestObjectOrder wants names in the server's order: the shorter first, then by bytes.
func TestObjectOrder(t *testing.T) {
	n := &jsonNode{kind: jsonSmallObject}
	for _, name := range []string{"b", "aa", "", "a", "B", "ä", "aaa"} {
		if err := n.insert(&jsonLeg{name: []byte(name)}, &jsonNode{kind: jsonLiteral, value: []byte{jsonTrue}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprintf("%q", n.names); got != `["" "B" "a" "b" "aa" "ä" "aaa"]` {
		t.Error(got)
	}
}

func TestJSONPaths(t *testing.T) {
	for path, want := range map[string]string{
		"$":                   "",
		"$.a":                 ".a",
		`$.a[3]."x y"[0][12]`: ".a[3].x y[0][12]",
		`$."q\"\\\u0041"`:     `.q"\A`,
		`$.ä$b`:               ".ä$b",
		`$[last]`:             "[last-0]",
		`$[last-2].x`:         "[last-2].x",
		`$."".""`:             "..",
	} {
		legs, err := parseJSONPath(path)
		if err != nil {
			t.Error(err)
		}
		var got strings.Builder
		for _, leg := range legs {
			switch {
			case leg.fromEnd:
				fmt.Fprintf(&got, "[last-%d]", leg.index)
			case leg.array:
				fmt.Fprintf(&got, "[%d]", leg.index)
			default:
				got.WriteString("." + string(leg.name))
			}
		}
		if got.String() != want {
			t.Errorf("%s is %q, want %q", path, got.String(), want)
		}
	}
	for _, path := range []string{"", "a", "$a", "$.", "$[", "$[]", "$[-1]", "$[1", `$."`, `$."a\`, `$."a`, "$[last+1]", "$.a*", "$**.a", "$[99999999999]", `$."\x"`} {
		if legs, err := parseJSONPath(path); err == nil {
			t.Errorf("%s is read as %v", path, legs)
		}
	}
}

func TestDiffsThatDoNotFit(t *testing.T) {
	element := &jsonNode{kind: jsonInt16, value: []byte{1, 0}}
	array := &jsonNode{kind: jsonSmallArray, elements: []*jsonNode{element}}
	root := &jsonNode{kind: jsonSmallObject, names: [][]byte{[]byte("a")}, elements: []*jsonNode{array}}
	document, err := root.document()
	if err != nil {
		t.Fatal(err)
	}
	value := []byte{jsonLiteral, jsonTrue}
	diff := func(operation byte, path string, value []byte) []byte {
		out := append([]byte{operation, byte(len(path))}, path...)
		if value != nil {
			out = append(append(out, byte(len(value))), value...)
		}
		return out
	}
	for name, diffs := range map[string][]byte{
		"the root":             diff(diffReplace, "$", value),
		"no such member":       diff(diffReplace, "$.b", value),
		"no such element":      diff(diffReplace, "$.a[1]", value),
		"member of an array":   diff(diffInsert, "$.a.b", value),
		"element of an object": diff(diffInsert, "$[0]", value),
		"below a number":       diff(diffInsert, "$.a[0].x", value),
		"a member twice":       diff(diffInsert, "$.a", value),
		"remove nothing":       diff(diffRemove, "$.a[7]", nil),
		"remove below nothing": diff(diffRemove, "$.x.y", nil),
		"no operation":         diff(9, "$.a", value),
		"no path":              diff(diffReplace, "a", value),
		"no value":             diff(diffReplace, "$.a", nil),
		"half a path":          {diffReplace, 200, '$'},
		"a broken value":       diff(diffReplace, "$.a", []byte{jsonString, 9}),
	} {
		if out, err := applyJSONDiffs(document, diffs); err == nil {
			text, _ := AppendJSON(nil, out)
			t.Errorf("%s: gives %s", name, text)
		}
	}
	for diffs, want := range map[string]string{
		string(diff(diffInsert, "$.a[0]", value)):  `{"a": [true, 1]}`,
		string(diff(diffInsert, "$.a[9]", value)):  `{"a": [1, true]}`,
		string(diff(diffReplace, "$.a[0]", value)): `{"a": [true]}`,
		string(diff(diffRemove, "$.a[last]", nil)): `{"a": []}`,
		string(diff(diffInsert, `$.""`, value)):    "",
		string(diff(diffInsert, `$."\"x"`, value)): `{"a": [1], "\"x": true}`,
		string(diff(diffRemove, "$.a", nil)):       `{}`,
	} {
		out, err := applyJSONDiffs(document, []byte(diffs))
		if want == "" { // an empty name is a name
			want = `{"": true, "a": [1]}`
		}
		if err != nil {
			t.Errorf("%q: %v", diffs, err)
			continue
		}
		if text, err := AppendJSON(nil, out); err != nil || string(text) != want {
			t.Errorf("%q gives %s, %v; want %s", diffs, text, err, want)
		}
	}
}

// TestOverlappingValuesAreBounded: a document whose elements all lie at one place would print a text that is
// exponentially longer.
func TestOverlappingValuesAreBounded(t *testing.T) {
	const levels, count = 60, 4
	var document []byte
	size := levels * (4 + 3*count)
	for level := range levels {
		document = appendNumber(document, count, 2)
		document = appendNumber(document, size-level*(4+3*count), 2)
		for range count {
			document = append(document, jsonSmallArray)
			document = appendNumber(document, 4+3*count, 2)
		}
	}
	document = append([]byte{jsonSmallArray}, append(document, 0, 0, 4, 0)...)
	if text, err := AppendJSON(nil, document); err == nil {
		t.Errorf("%d bytes print as %d", len(document), len(text))
	}
	if _, err := parseJSON(document); err == nil {
		t.Error("is read as a tree")
	}
}

func FuzzAppendJSON(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{jsonSmallObject, 1, 0, 0x0c, 0, 0x0b, 0, 1, 0, jsonInt16, 5, 0, 'a'})
	f.Add([]byte{jsonOpaque, wireNewDecimal, 4, 3, 1, 0x80, 0x05})
	f.Add([]byte{jsonOpaque, wireTime, 8, 0, 0, 0, 0, 0, 0, 0, 0x80})
	f.Fuzz(func(t *testing.T, document []byte) {
		text, err := AppendJSON(nil, document)
		root, treeErr := parseJSON(document)
		if err != nil || treeErr != nil {
			return
		}
		written, err := root.document()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := AppendJSON(nil, written); err != nil || !bytes.Equal(text, again) {
			t.Fatalf("prints as %q, through a tree as %q, %v", text, again, err)
		}
	})
}

func FuzzJSONDiffs(f *testing.F) {
	f.Add([]byte{jsonSmallArray, 1, 0, 7, 0, jsonInt16, 5, 0}, []byte("\x00\x04$[0]\x02\x04\x01"))
	f.Add([]byte{jsonSmallArray, 1, 0, 7, 0, jsonInt16, 5, 0}, []byte("\x01\x04$[0]\x02\x04\x01\x02\x04$[1]"))
	f.Fuzz(func(t *testing.T, document, diffs []byte) {
		out, err := applyJSONDiffs(document, diffs)
		if err != nil {
			return
		}
		if _, err := parseJSON(out); err != nil {
			t.Fatalf("what came out is not readable: %v", err)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	array := &jsonNode{kind: jsonSmallArray}
	for i := range 20 {
		f := binary.LittleEndian.AppendUint64(nil, math.Float64bits(float64(i)/7))
		array.elements = append(array.elements, &jsonNode{kind: jsonInt16, value: []byte{byte(i), 1}},
			&jsonNode{kind: jsonString, value: []byte("\x0ba short text")}, &jsonNode{kind: jsonDouble, value: f})
	}
	document, err := array.document()
	if err != nil {
		b.Fatal(err)
	}
	dst, err := AppendJSON(nil, document)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = AppendJSON(dst[:0], document); err != nil {
			b.Fatal(err)
		}
	}
}
