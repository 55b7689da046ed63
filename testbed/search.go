package testbed

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// SearchKind names a search engine.
type SearchKind string

const (
	Elasticsearch SearchKind = "elasticsearch"
	OpenSearch    SearchKind = "opensearch"
)

// searchHeapDefault is what both are content with in tests, in megabytes.
const searchHeapDefault = 256

//go:embed java/*.java
var launcherSources embed.FS

// searchRecipe is how an engine is put together from Maven's jars.
type searchRecipe struct {
	version  string
	launcher string // class, and name of its source
	size     string
	project  mavenProject
	// module names the jars (as patterns) that an engine loads by itself as
	// its module transport-netty4; on the class path too they would be "jar
	// hell" to it. None: all jars are on the class path.
	module []string
}

var searchRecipes = map[SearchKind]searchRecipe{
	Elasticsearch: {
		version:  "8.19.21",
		launcher: "ElasticsearchLauncher",
		size:     "46 jars, about 41 MB",
		project: mavenProject{
			artifacts: []string{
				"org.elasticsearch:elasticsearch:8.19.21",
				"org.elasticsearch.plugin:transport-netty4:8.19.21",
			},
			transitive: true,
		},
		module: []string{"transport-netty4-*.jar", "netty-*.jar"},
	},
	OpenSearch: {
		version:  "2.19.2",
		launcher: "OpenSearchLauncher",
		size:     "52 jars, about 44 MB",
		project: mavenProject{
			artifacts: []string{
				"org.opensearch:opensearch:2.19.2",
				"org.opensearch.plugin:transport-netty4-client:2.19.2",
				"org.apache.logging.log4j:log4j-core:2.21.0",
			},
			transitive: true,
		},
	},
}

// SearchOptions say how to start a search engine.
type SearchOptions struct {
	// Kind is Elasticsearch when empty.
	Kind SearchKind
	// HeapMB bounds the Java heap, in megabytes; default 256.
	HeapMB int
	// Settings are node settings and win over this package's.
	Settings map[string]string
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	// Measured gives it both of Java's compilers: see KafkaOptions.
	Measured bool
	Log      Log
}

// Search is a running node of one of the engines. It has no scripts, no
// security and, as Elasticsearch, no `GET /`.
type Search struct {
	*server

	Kind SearchKind
	// Version is the engine's.
	Version string
	// ClusterName is this instance's own.
	ClusterName string
}

// StartSearch fetches the engine when it is not in the cache, starts a node and
// waits until it answers. The caller must Stop it.
func StartSearch(ctx context.Context, o SearchOptions) (*Search, error) {
	if o.Kind == "" {
		o.Kind = Elasticsearch
	}
	home, err := searchInstall(ctx, o.Kind, o.Log)
	if err != nil {
		unmet(string(o.Kind), err)
		return nil, err
	}
	base, err := newServer(string(o.Kind), o.Dir, string(o.Kind)+".log")
	if err != nil {
		return nil, err
	}
	s := &Search{server: base, Kind: o.Kind, Version: searchRecipes[o.Kind].version, ClusterName: filepath.Base(base.dir)}
	if err := s.prepare(home, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare %s: %w", o.Kind, err), s)
	}
	if err := s.Start(ctx); err != nil {
		return nil, joinStop(err, s)
	}
	o.Log.printf("%s %s ready on %s, pid %d", s.Kind, s.Version, s.URL(), s.Pid())
	met(string(o.Kind), s.Version)
	return s, nil
}

// URL is the address of its HTTP interface.
func (s *Search) URL() string { return "http://" + s.Address() }

func searchInstall(ctx context.Context, kind SearchKind, log Log) (string, error) {
	recipe, known := searchRecipes[kind]
	if !known {
		return "", fmt.Errorf("unknown search engine %q; there are %s and %s", kind, Elasticsearch, OpenSearch)
	}
	return cached(ctx, string(kind)+"-"+recipe.version, log, func(ctx context.Context, dir string) error {
		log.printf("maven: %s %s (%s)", kind, recipe.version, recipe.size)
		if err := mavenCopy(ctx, filepath.Join(dir, "lib"), recipe.project); err != nil {
			return fmt.Errorf("fetch %s: %w", kind, err)
		}
		if err := recipe.makeModule(dir); err != nil {
			return fmt.Errorf("make the module of %s: %w", kind, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "log4j2.properties"), []byte(log4jToConsole), 0o644); err != nil {
			return err
		}
		if err := recipe.compile(ctx, dir); err != nil {
			return fmt.Errorf("compile the launcher of %s: %w", kind, err)
		}
		return nil
	})
}

// makeModule moves the module's jars out of lib and writes its descriptor: the
// one from the jar without the line that asks for a Java module, which only the
// distribution's launcher sets up.
func (r searchRecipe) makeModule(dir string) error {
	if len(r.module) == 0 {
		return nil
	}
	module := filepath.Join(dir, "modules", "transport-netty4")
	if err := os.MkdirAll(module, 0o755); err != nil {
		return err
	}
	for _, pattern := range r.module {
		jars, err := filepath.Glob(filepath.Join(dir, "lib", pattern))
		if err != nil {
			return err
		}
		for _, jar := range jars {
			if err := os.Rename(jar, filepath.Join(module, filepath.Base(jar))); err != nil {
				return err
			}
		}
	}
	jar := filepath.Join(module, "transport-netty4-"+r.version+".jar")
	descriptor, err := readZipped(jar, "META-INF/es-plugins/transport-netty4/plugin-descriptor.properties")
	if err != nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(descriptor)) {
		if !strings.HasPrefix(line, "modulename=") {
			kept.WriteString(line)
		}
	}
	return os.WriteFile(filepath.Join(module, "plugin-descriptor.properties"), []byte(kept.String()), 0o644)
}

func (r searchRecipe) compile(ctx context.Context, dir string) error {
	javac, err := javaTool("javac")
	if err != nil {
		return err
	}
	source, err := launcherSources.ReadFile("java/" + r.launcher + ".java")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, r.launcher+".java")
	if err := os.WriteFile(path, source, 0o644); err != nil {
		return err
	}
	return runQuietly(ctx, exec.Command(javac, "-nowarn", "-proc:none", "-cp", filepath.Join(dir, "lib", "*"), "-d", filepath.Join(dir, "classes"), path), nil)
}

func (s *Search) prepare(home string, o SearchOptions) error {
	java, err := javaTool("java")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "config"), 0o755); err != nil {
		return err
	}
	settings := map[string]string{
		"cluster.name":   s.ClusterName,
		"node.name":      "node",
		"discovery.type": "single-node",
		"network.host":   "127.0.0.1",
		"http.port":      fmt.Sprint(s.Port),
		"transport.port": fmt.Sprint(s.extraPort()),
		"path.data":      filepath.Join(s.dir, "data"),
		"path.logs":      filepath.Join(s.dir, "logs"),
		// A disk that others have filled to 95 % would make all indices read-only.
		"cluster.routing.allocation.disk.threshold_enabled": "false",
	}
	maps.Copy(settings, o.Settings)
	heap := o.HeapMB
	if heap == 0 {
		heap = searchHeapDefault
	}
	recipe := searchRecipes[s.Kind]
	args := append(javaFlagsFor(heap, o.Measured),
		"-Dlog4j2.configurationFile="+filepath.Join(home, "log4j2.properties"),
		"-Djava.io.tmpdir="+s.dir,
		"-cp", filepath.Join(home, "classes")+string(os.PathListSeparator)+filepath.Join(home, "lib", "*"),
		recipe.launcher)
	if len(recipe.module) > 0 {
		args = append(args, filepath.Join(home, "modules"))
	}
	args = append(args, s.dir)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, name+"="+settings[name])
	}
	s.command = func() *exec.Cmd { return exec.Command(java, args...) }
	s.ready = s.answers
	return nil
}

// answers asks for the cluster's name, which no other node has.
func (s *Search) answers(ctx context.Context) error {
	var health struct {
		ClusterName string `json:"cluster_name"`
		Status      string `json:"status"`
	}
	if err := getJSON(ctx, s.URL()+"/_cluster/health", &health); err != nil {
		return err
	}
	if health.ClusterName != s.ClusterName {
		return fmt.Errorf("another cluster, %s, answers on its port", health.ClusterName)
	}
	if health.Status == "red" {
		return errors.New("its indices are not recovered yet")
	}
	return nil
}

// getJSON asks once, for readiness.
func getJSON(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// A connection of its own: one kept alive would be a goroutine left behind.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}
