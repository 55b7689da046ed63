package fault

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Names and the code say the same: a point that nobody lists is never tried, a name without a point never strikes.
func TestNamesAreThePointsInTheCode(t *testing.T) {
	point := regexp.MustCompile(`fault\.Point\("([^"]*)"\)`)
	found := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		for _, m := range point.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range found {
		if !slices.Contains(Names, name) {
			t.Errorf("the point %s is not in Names", name)
		}
	}
	for _, name := range Names {
		if !found[name] {
			t.Errorf("%s is in Names, and nowhere in the code", name)
		}
	}
}

// The tagged half is tested in a build of its own.
func TestWithTheTag(t *testing.T) {
	if Enabled {
		t.Skip("this is that build")
	}
	out, err := exec.Command("go", "test", "-count=1", "-tags", "faultpoints", ".").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
