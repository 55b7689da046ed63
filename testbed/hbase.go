package testbed

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const hbaseVersion = "2.4.17"

// hbaseHeapDefault is what it is content with in tests, in megabytes.
const hbaseHeapDefault = 320

var hbaseProject = mavenProject{
	artifacts: []string{
		"org.apache.hbase:hbase-server:" + hbaseVersion,
		"org.apache.hbase:hbase-rest:" + hbaseVersion,
	},
	transitive: true,
}

// hbaseUnwanted are jars that come along and stand in the way: a binding of slf4j that would write every line of ZooKeeper's, and servlet
// classes older than those that the gateway is built for.
var hbaseUnwanted = []string{"slf4j-log4j12-*.jar", "slf4j-reload4j-*.jar", "servlet-api-2.5*.jar", "jsp-api-*.jar"}

// hbaseOpens are the parts of Java 17 that HBase 2.4 reaches into.
var hbaseOpens = []string{
	"--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
	"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED", "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
}

// HBaseOptions say how to start an HBase.
type HBaseOptions struct {
	// HeapMB bounds the Java heap, in megabytes; default 320.
	HeapMB int
	// Settings are those of hbase-site.xml and win over this package's.
	Settings map[string]string
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	Log Log
}

// HBase is a running HBase: ZooKeeper, master, one region server and the REST
// gateway in one process, with its files in a local folder. What it has
// acknowledged is in files when it is killed.
type HBase struct {
	*server

	Version string

	admin int // port of its launcher's commands
}

// StartHBase fetches HBase when it is not in the cache, starts it and waits until
// its gateway answers. The caller must Stop it.
func StartHBase(ctx context.Context, o HBaseOptions) (*HBase, error) {
	const name = "hbase"
	home, err := hbaseInstall(ctx, o.Log)
	if err != nil {
		unmet(name, err)
		return nil, err
	}
	base, err := newServer(name, o.Dir, name+".log")
	if err != nil {
		return nil, err
	}
	s := &HBase{server: base, Version: hbaseVersion}
	s.admin = s.extraPort()
	if err := s.prepare(home, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare %s: %w", name, err), s)
	}
	if err := s.Start(ctx); err != nil {
		return nil, joinStop(err, s)
	}
	o.Log.printf("%s %s ready on %s, pid %d", name, s.Version, s.URL(), s.Pid())
	met(name, s.Version)
	return s, nil
}

// URL is the address of its REST gateway.
func (s *HBase) URL() string { return "http://" + s.Address() }

// Admin does what the gateway cannot: major-compact, create (family and splits),
// set (family and name=value), truncate, disable, enable, drop. It returns when
// it is done.
func (s *HBase) Admin(ctx context.Context, command, table string, lines ...string) error {
	url := fmt.Sprintf("http://%s:%d/%s/%s", s.ip(), s.admin, command, table)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", command, table, text)
	}
	return err
}

func hbaseInstall(ctx context.Context, log Log) (string, error) {
	return cached(ctx, "hbase-"+hbaseVersion, log, func(ctx context.Context, dir string) error {
		log.printf("maven: HBase %s (138 jars, about 90 MB)", hbaseVersion)
		if err := mavenCopy(ctx, filepath.Join(dir, "lib"), hbaseProject); err != nil {
			return fmt.Errorf("fetch HBase: %w", err)
		}
		if err := removeJars(filepath.Join(dir, "lib"), hbaseUnwanted); err != nil {
			return err
		}
		if err := (searchRecipe{launcher: "HBaseLauncher"}).compile(ctx, dir); err != nil {
			return fmt.Errorf("compile the launcher of HBase: %w", err)
		}
		return nil
	})
}

func (s *HBase) prepare(home string, o HBaseOptions) error {
	java, err := javaTool("java")
	if err != nil {
		return err
	}
	heap := o.HeapMB
	if heap == 0 {
		heap = hbaseHeapDefault
	}
	ready := filepath.Join(s.dir, "ready")
	args := append(slices.Clone(hbaseOpens),
		fmt.Sprintf("-Xmx%dm", heap), "-XX:+ExitOnOutOfMemoryError", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir="+s.dir,
		"-cp", filepath.Join(home, "classes")+string(os.PathListSeparator)+filepath.Join(home, "lib", "*"),
		"HBaseLauncher", s.dir, ready, strconv.Itoa(s.admin))
	settings := s.settings()
	maps.Copy(settings, o.Settings)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, name+"="+settings[name])
	}
	s.command = func() *exec.Cmd { return exec.Command(java, args...) }
	// Only its own process writes its id there, once all of it answers; who answers on the port may be another.
	s.ready = func(context.Context) error {
		written, err := os.ReadFile(ready)
		if err == nil && strings.TrimSpace(string(written)) != strconv.Itoa(s.child.pid) {
			err = fmt.Errorf("it does not answer yet")
		}
		return err
	}
	return nil
}

// settings are those of hbase-site.xml.
func (s *HBase) settings() map[string]string {
	zookeeper := strconv.Itoa(s.extraPort())
	settings := map[string]string{
		"hbase.rootdir":                           "file://" + filepath.Join(s.dir, "data"),
		"hbase.tmp.dir":                           filepath.Join(s.dir, "tmp"),
		"hbase.cluster.distributed":               "false",
		"hbase.zookeeper.quorum":                  s.ip(),
		"hbase.zookeeper.property.clientPort":     zookeeper,
		"hbase.rest.host":                         s.ip(),
		"hbase.rest.port":                         strconv.Itoa(s.Port),
		"hbase.master.port":                       "0",
		"hbase.regionserver.port":                 "0",
		"hbase.master.hostname":                   s.ip(),
		"hbase.regionserver.hostname":             s.ip(),
		"hbase.master.ipc.address":                s.ip(),
		"hbase.regionserver.ipc.address":          s.ip(),
		"hbase.wal.provider":                      "filesystem",
		"hbase.unsafe.stream.capability.enforce":  "false",
		"hbase.regionserver.handler.count":        "10",
		"hbase.regionserver.global.memstore.size": "0.3",
		"hfile.block.cache.size":                  "0.2",
		// The master waits for no second region server, and both tell each other at once.
		"hbase.master.wait.on.regionservers.maxtostart": "1",
		"hbase.regionserver.msginterval":                "500",
		// On a busy machine a start takes longer than they like; StartHBase has a limit of its own.
		"hbase.master.start.timeout.localHBaseCluster": "120000",
		"hbase.hregion.memstore.mslab.enabled":         "false",
		// Hadoop's own local file system keeps the last bytes of a file in memory, for its checksums' sake; this one writes them.
		"fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
	}
	for _, page := range []string{"hbase.master.info.port", "hbase.regionserver.info.port", "hbase.rest.info.port"} {
		settings[page] = "-1"
	}
	return settings
}
