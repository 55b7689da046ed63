package testbed

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestHBaseStartsAgain: what it has acknowledged is there after a crash, on the same port.
func TestHBaseStartsAgain(t *testing.T) {
	needsTime(t)
	t.Parallel()
	if err := Available(t.Context(), "hbase"); err != nil {
		t.Skip(err)
	}
	hbase, err := StartHBase(t.Context(), HBaseOptions{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, hbase)
	if err := hbase.Admin(t.Context(), "create", "rows", "f", "m"); err != nil {
		t.Fatal(err)
	}
	if status, answer := askHBase(t, "PUT", hbase.URL()+"/rows/a/f:x", "kept"); status != http.StatusOK {
		t.Fatalf("the put gave %d %s", status, answer)
	}
	killAndStart(t, hbase)
	if status, answer := askHBase(t, "GET", hbase.URL()+"/rows/a/f:x", ""); status != http.StatusOK || answer != "kept" {
		t.Errorf("after a crash the cell is %q (%d)", answer, status)
	}
	if err := hbase.Admin(t.Context(), "major-compact", "rows"); err != nil {
		t.Error(err)
	}
}

func askHBase(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/octet-stream")
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
