package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// mongoVersion is mongo-java-server's.
const mongoVersion = "1.47.0"

// mongoHeapDefault is what it is content with in tests, in megabytes.
const mongoHeapDefault = 256

var mongoProject = mavenProject{
	artifacts: []string{
		"de.bwaldvogel:mongo-java-server:" + mongoVersion,
		"de.bwaldvogel:mongo-java-server-h2-backend:" + mongoVersion,
	},
	transitive: true,
}

// MongoOptions say how to start a mongo-java-server.
type MongoOptions struct {
	// HeapMB bounds the Java heap, in megabytes; default 256.
	HeapMB int
	// Keep has it keep its documents in a file: what it has acknowledged is lost
	// by Kill, not by Shutdown. Then it does not always find by _id a document
	// whose _id is an embedded one, and takes such a document twice.
	Keep bool
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	Log Log
}

// Mongo is a running mongo-java-server: a server that speaks MongoDB's protocol
// and answers with its error codes. It is no mongod: it has no replication, no
// transactions, no update pipelines, no collations and no accounts, and an end
// loses what it holds: see MongoOptions.Keep.
type Mongo struct {
	*server

	// Version is mongo-java-server's. To clients it says that it is a MongoDB 4.4.
	Version string
}

// StartMongo fetches the server when it is not in the cache, starts it and waits
// until it listens. The caller must Stop it.
func StartMongo(ctx context.Context, o MongoOptions) (*Mongo, error) {
	const name = "mongo-java-server"
	home, err := mongoInstall(ctx, o.Log)
	if err != nil {
		unmet(name, err)
		return nil, err
	}
	base, err := newServer(name, o.Dir, name+".log")
	if err != nil {
		return nil, err
	}
	s := &Mongo{server: base, Version: mongoVersion}
	if err := s.prepare(home, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare %s: %w", name, err), s)
	}
	if err := s.Start(ctx); err != nil {
		return nil, joinStop(err, s)
	}
	o.Log.printf("%s %s ready on %s, pid %d", name, s.Version, s.Address(), s.Pid())
	met(name, s.Version)
	return s, nil
}

// URI is how drivers are told of it.
func (s *Mongo) URI() string { return "mongodb://" + s.Address() }

func mongoInstall(ctx context.Context, log Log) (string, error) {
	// The number grows with the launcher.
	return cached(ctx, "mongo-java-server-"+mongoVersion+"-2", log, func(ctx context.Context, dir string) error {
		log.printf("maven: mongo-java-server %s (18 jars, about 6 MB)", mongoVersion)
		if err := mavenCopy(ctx, filepath.Join(dir, "lib"), mongoProject); err != nil {
			return fmt.Errorf("fetch mongo-java-server: %w", err)
		}
		if err := (searchRecipe{launcher: "MongoLauncher"}).compile(ctx, dir); err != nil {
			return fmt.Errorf("compile the launcher of mongo-java-server: %w", err)
		}
		return nil
	})
}

func (s *Mongo) prepare(home string, o MongoOptions) error {
	java, err := javaTool("java")
	if err != nil {
		return err
	}
	heap := o.HeapMB
	if heap == 0 {
		heap = mongoHeapDefault
	}
	ready, data := filepath.Join(s.dir, "ready"), "memory"
	if o.Keep {
		data = filepath.Join(s.dir, "data")
	}
	s.command = func() *exec.Cmd {
		return exec.Command(java, append(javaFlags(heap), "-Djava.io.tmpdir="+s.dir,
			"-cp", filepath.Join(home, "classes")+string(os.PathListSeparator)+filepath.Join(home, "lib", "*"),
			"MongoLauncher", data, s.ip(), strconv.Itoa(s.Port), ready)...)
	}
	// Only its own process writes its id there, once it listens; who answers on the port may be another.
	s.ready = func(context.Context) error {
		written, err := os.ReadFile(ready)
		if err == nil && strings.TrimSpace(string(written)) != strconv.Itoa(s.child.pid) {
			err = fmt.Errorf("it does not listen yet")
		}
		return err
	}
	return nil
}
