package testbed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCacheDir(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, test := range []struct{ sluice, xdg, want string }{
		{"/a", "/b", "/a"},
		{"", "/b", "/b/sluice"},
		{"", "not-absolute", home + "/.cache/sluice"},
		{"", "", home + "/.cache/sluice"},
	} {
		t.Setenv("SLUICE_CACHE", test.sluice)
		t.Setenv("XDG_CACHE_HOME", test.xdg)
		if got, err := CacheDir(); got != test.want || err != nil {
			t.Errorf("%+v: %s, %v", test, got, err)
		}
	}
}

func TestCachedBuildsOnce(t *testing.T) {
	t.Setenv("SLUICE_CACHE", filepath.Join(t.TempDir(), "cache"))
	var builds atomic.Int32
	build := func(_ context.Context, dir string) error {
		builds.Add(1)
		time.Sleep(50 * time.Millisecond)
		return os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644)
	}
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			dir, err := cached(t.Context(), "thing", nil, build)
			if err != nil || !exists(filepath.Join(dir, "file")) {
				t.Errorf("%s, %v", dir, err)
			}
		})
	}
	group.Wait()
	if builds.Load() != 1 {
		t.Errorf("built %d times", builds.Load())
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("SLUICE_CACHE", cache)
	interrupted := filepath.Join(cache, ".thing.building-123")
	if err := os.Mkdir(interrupted, 0o755); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	_, err := cached(t.Context(), "thing", nil, func(_ context.Context, dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o644); err != nil {
			t.Error(err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 || entries[0].Name() != "thing.lock" {
		t.Errorf("left in the cache: %v, %v", entries, err)
	}
}

func TestLockListensToContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lockFile(ctx, path, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock that is held was taken: %v", err)
	}
	unlock()
	again, err := lockFile(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestFreePortsDiffer(t *testing.T) {
	given := map[int]bool{}
	for range 50 {
		port := FreePort()
		if given[port] || !listenable(port) {
			t.Errorf("port %d was given twice or is taken", port)
		}
		given[port] = true
	}
	for port := range given {
		ReleasePort(port)
	}
}

func TestUnknownNames(t *testing.T) {
	t.Setenv("SLUICE_MET", "") // these are none that a run should have met
	if err := Available(t.Context(), "oracle"); err == nil {
		t.Error("an unknown server is available")
	}
	if _, err := StartMySQL(t.Context(), MySQLOptions{Version: "5.0"}); err == nil {
		t.Error("an unknown version was started")
	}
	if _, err := StartSearch(t.Context(), SearchOptions{Kind: "solr"}); err == nil {
		t.Error("an unknown search engine was started")
	}
	for _, version := range allMySQL {
		if got, err := ParseMySQLVersion(version.cacheName()); got != version || err != nil {
			t.Errorf("%s is parsed as %q, %v", version.cacheName(), got, err)
		}
	}
}
