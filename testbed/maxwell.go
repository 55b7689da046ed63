package testbed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	maxwellVersion = "1.22.6"
	maxwellCache   = "maxwell-" + maxwellVersion + "-2" // the number is that of the cached form
	// This Maxwell is of 2019: its own binlog connector (0.20.0) and driver (8.0.17) ask a MySQL of today things that it no longer knows.
	// These two are their successors with the same classes. The Kafka client is its own default. A class of Java's former JavaScript engine
	// that it looks for has a stand-in (java/ScriptObjectMirror.java).
	maxwellBinlogConnector = "0.30.1"
	maxwellDriver          = "9.1.0"
	maxwellKafkaClient     = "1.0.0"
	// maxwellHeapDefault is in megabytes.
	maxwellHeapDefault = 512
	// maxwellConnected is what it logs when it reads the binlog.
	maxwellConnected = "Binlog connected."
)

var maxwellProject = mavenProject{
	artifacts: []string{
		"com.zendesk:maxwell:" + maxwellVersion,
		"com.zendesk:mysql-binlog-connector-java:" + maxwellBinlogConnector,
		"com.mysql:mysql-connector-j:" + maxwellDriver,
		"org.apache.kafka:kafka-clients:" + maxwellKafkaClient,
	},
	transitive: true,
}

// maxwellSwapped are the jars that the successors take the place of.
var maxwellSwapped = []string{"mysql-binlog-connector-java-0.20.*.jar", "mysql-connector-java-*.jar"}

var maxwellSums = map[string]string{
	"maxwell-" + maxwellVersion + ".jar":                             "73980f5d1f270cb057b2fb02252c3f2c784dda03717d0780e3d7489b60186cd0",
	"mysql-binlog-connector-java-" + maxwellBinlogConnector + ".jar": "6f3976798fe6b4cb7f9c13f194c59508333c5761626e37b53e20c6a3fca7d14d",
	"mysql-connector-j-" + maxwellDriver + ".jar":                    "8776e2ebc46072c9a47ea59d98298c4273bd9f16a7b26b5dfa4744535aa26c62",
	"kafka-clients-" + maxwellKafkaClient + ".jar":                   "8644fba65a277c41831c8704c6cb49b146c8278f836abd8c2d04dbffdc1a7c4a",
}

// MaxwellOptions say how to start Maxwell.
type MaxwellOptions struct {
	// MySQL is the server that it reads and keeps its state in, as the user app.
	MySQL *MySQL
	// Kafka is the broker's address. The topics must be there.
	Kafka string
	// File and Position are where in the binlog it begins. It takes tables as they are when it starts, so it must not begin before
	// their DDL.
	File     string
	Position uint64
	// Properties are those of config.properties and win over this package's.
	Properties map[string]string
	// HeapMB bounds the Java heap, in megabytes; default 512.
	HeapMB int
	// Measured gives it both of Java's compilers: see KafkaOptions.
	Measured bool
	// Dir is the folder in which the instance's folder is made; default the system's temp folder.
	Dir string
	Log Log
}

// Maxwell is a running Maxwell with another binlog connector and driver than it came with. It is ready when it reads the binlog; a row that
// it cannot write ends the thread that writes, but not the process: look at its log. It leaves a small database in the MySQL, its
// state, which is this instance's own.
type Maxwell struct {
	*server

	// Version says what it is made of.
	Version string
}

// StartMaxwell fetches Maxwell when it is not in the cache, starts it and waits until it reads the binlog. The caller must Stop it.
func StartMaxwell(ctx context.Context, o MaxwellOptions) (*Maxwell, error) {
	const name = "maxwell"
	home, err := maxwellInstall(ctx, o.Log)
	if err != nil {
		unmet(name, err)
		return nil, err
	}
	base, err := newServer(name, o.Dir, name+".log")
	if err != nil {
		return nil, err
	}
	version := fmt.Sprintf("%s with binlog connector %s and driver %s", maxwellVersion, maxwellBinlogConnector, maxwellDriver)
	m := &Maxwell{server: base, Version: version}
	if err := errors.Join(o.MySQL.warm(ctx), m.prepare(home, o)); err != nil {
		return nil, joinStop(fmt.Errorf("prepare Maxwell: %w", err), m)
	}
	if err := m.Start(ctx); err != nil {
		return nil, joinStop(err, m)
	}
	o.Log.printf("Maxwell %s reads %s from %s:%d, pid %d", m.Version, o.MySQL.Address(), o.File, o.Position, m.Pid())
	met(name, maxwellVersion)
	return m, nil
}

func maxwellInstall(ctx context.Context, log Log) (string, error) {
	return cached(ctx, maxwellCache, log, func(ctx context.Context, dir string) error {
		log.printf("maven: Maxwell %s (97 jars, about 57 MB)", maxwellVersion)
		lib := filepath.Join(dir, "lib")
		if err := mavenCopy(ctx, lib, maxwellProject); err != nil {
			return fmt.Errorf("fetch Maxwell: %w", err)
		}
		if err := errors.Join(checkSums(lib, maxwellSums), removeJars(lib, maxwellSwapped)); err != nil {
			return err
		}
		if err := (searchRecipe{launcher: "ScriptObjectMirror"}).compile(ctx, dir); err != nil {
			return fmt.Errorf("compile what Maxwell misses of Java: %w", err)
		}
		return nil
	})
}

func (m *Maxwell) prepare(home string, o MaxwellOptions) error {
	java, err := javaTool("java")
	if err != nil {
		return err
	}
	properties := map[string]string{
		"host": o.MySQL.ip(), "port": fmt.Sprint(o.MySQL.Port), "user": "app", "password": "app",
		// The state is by instance: one that finds another's begins where that one ended.
		"schema_database": fmt.Sprintf("maxwell_%d", m.Port), "client_id": m.name, "replica_server_id": fmt.Sprint(m.Port),
		"producer": "kafka", "kafka.bootstrap.servers": o.Kafka, "log_level": "info",
		// Without it a record that Kafka refuses is a line in the log and a row less in the topic.
		"ignore_producer_error": "false",
	}
	maps.Copy(properties, o.Properties)
	path := filepath.Join(m.dir, "config.properties")
	if err := writeProperties(path, properties); err != nil {
		return err
	}
	heap := o.HeapMB
	if heap == 0 {
		heap = maxwellHeapDefault
	}
	// A position's third part is Maxwell's own heartbeat: none yet.
	args := append(javaFlagsFor(heap, o.Measured), "-Dfile.encoding=UTF-8", "-Djava.io.tmpdir="+m.dir,
		"-Dlog4j.shutdownCallbackRegistry=com.djdch.log4j.StaticShutdownCallbackRegistry",
		"-cp", filepath.Join(home, "classes")+string(os.PathListSeparator)+filepath.Join(home, "lib", "*"), "com.zendesk.maxwell.Maxwell", "--config", path,
		fmt.Sprintf("--init_position=%s:%d:0", o.File, o.Position))
	before := 0
	m.command = func() *exec.Cmd {
		before = m.connections() // of earlier starts
		return exec.Command(java, args...)
	}
	m.ready = func(context.Context) error {
		if m.connections() == before {
			return errors.New("it does not read the binlog yet")
		}
		return nil
	}
	return nil
}

// connections is how often its log says that it has begun to read the binlog: nothing of it listens on a port.
func (m *Maxwell) connections() int {
	content, err := os.ReadFile(m.logPath)
	if err != nil {
		return 0
	}
	return strings.Count(string(content), maxwellConnected)
}
