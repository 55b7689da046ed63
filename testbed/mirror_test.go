package testbed

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHostMirror(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing": {nil, fallbackMirror},
		"one line": {map[string]string{
			"sources.list": "# deb http://old/debian bookworm main\ndeb http://security/debian-security bookworm-security main\n" +
				"deb-src http://source/debian bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib # ours\n",
		}, "http://mirror/debian"},
		"deb822": {map[string]string{
			"sources.list.d/debian.sources": "Types: deb\n# a remark\nURIs: http://security/debian-security\nSuites: bookworm-security\nComponents: main\n\n" +
				"Types: deb deb-src\nURIs: http://mirror/debian\n http://second/debian\nSuites: bookworm bookworm-updates\nComponents: main\n",
		}, "http://mirror/debian"},
		"switched off": {map[string]string{
			"sources.list.d/debian.sources": "Enabled: no\nTypes: deb\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main\n",
		}, fallbackMirror},
		"another distribution": {map[string]string{
			"sources.list": "deb http://archive/ubuntu noble main universe\n",
		}, fallbackMirror},
		"another archive": {map[string]string{
			"sources.list.d/node.list": "deb https://node/node_20.x nodistro main\n",
		}, fallbackMirror},
	} {
		t.Run(name, func(t *testing.T) {
			etc := t.TempDir()
			if err := os.Mkdir(filepath.Join(etc, "sources.list.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			for path, content := range test.files {
				if err := os.WriteFile(filepath.Join(etc, path), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := hostMirror(etc).uri; got != test.want {
				t.Errorf("the mirror is %s, want %s", got, test.want)
			}
		})
	}
}

func TestSourceKeyring(t *testing.T) {
	source, ok := parseOneLine("deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian sid main\n")
	if want := (aptSource{"http://mirror/debian", "/k.gpg"}); !ok || cmp.Diff(want, source, cmp.AllowUnexported(aptSource{})) != "" {
		t.Errorf("got %+v", source)
	}
	if got, want := source.line("sid"), "deb [signed-by=/k.gpg] http://mirror/debian sid main\n"; got != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
}

func TestParseMySQLVersion(t *testing.T) {
	type parsed struct {
		Major, Minor int
		Full         string
	}
	for output, want := range map[string]parsed{
		"/x/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))":                      {9, 7, "9.7.4"},
		"mysqld  Ver 8.0.15 for linux-glibc2.12 on x86_64 (MySQL Community Server)":  {8, 0, "8.0.15"},
		"mariadbd  Ver 10.11.18-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 ()": {10, 11, "10.11.18-MariaDB"},
		"no version": {0, 0, "no version"},
	} {
		major, minor, full := parseMySQLVersion(output)
		if diff := cmp.Diff(want, parsed{major, minor, full}); diff != "" {
			t.Errorf("%s: %s", output, diff)
		}
	}
}
