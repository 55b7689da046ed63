package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	apicurioVersion = "3.0.9" // later ones need Java 21
	apicurioCache   = "apicurio-" + apicurioVersion
	// registryHeapDefault is in megabytes.
	registryHeapDefault = 256
	// ccompat is where Apicurio speaks Confluent's API.
	ccompat = "/apis/ccompat/v7"
)

// RegistryOptions say how to start a schema registry.
type RegistryOptions struct {
	// Kafka is the address of the broker that keeps the schemas (in topics of
	// the registry's own). Empty: they are in memory and gone after Kill.
	Kafka string
	// HeapMB bounds the Java heap, in megabytes; default 256.
	HeapMB int
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	Log Log
}

// Registry is a running Apicurio registry. Its default compatibility is NONE,
// and some fields of Confluent's answers are missing.
type Registry struct {
	*server

	// Version is Apicurio's.
	Version string
}

// StartRegistry fetches the registry when it is not in the cache, starts it and
// waits until it answers. The caller must Stop it.
func StartRegistry(ctx context.Context, o RegistryOptions) (*Registry, error) {
	home, err := registryInstall(ctx, o.Log)
	if err != nil {
		unmet("apicurio", err)
		return nil, err
	}
	base, err := newServer("registry", o.Dir, "registry.log")
	if err != nil {
		return nil, err
	}
	r := &Registry{server: base, Version: apicurioVersion}
	if err := r.prepare(home, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare the registry: %w", err), r)
	}
	if err := r.Start(ctx); err != nil {
		return nil, joinStop(err, r)
	}
	o.Log.printf("Apicurio %s ready on %s, pid %d", r.Version, r.URL(), r.Pid())
	met("apicurio", apicurioVersion)
	return r, nil
}

// URL is what a client of Confluent's API takes as the registry's address.
func (r *Registry) URL() string { return "http://" + r.Address() + ccompat }

func registryInstall(ctx context.Context, log Log) (string, error) {
	return cached(ctx, apicurioCache, log, func(ctx context.Context, dir string) error {
		log.printf("maven: Apicurio registry %s (109 MB)", apicurioVersion)
		archives := filepath.Join(dir, "archive")
		project := mavenProject{
			artifacts: []string{"io.apicurio:apicurio-registry-app:" + apicurioVersion + ":tar.gz:all"},
			standIns:  []string{"io.apicurio:apicurio-registry:" + apicurioVersion},
		}
		if err := mavenCopy(ctx, archives, project); err != nil {
			return fmt.Errorf("fetch Apicurio registry: %w", err)
		}
		archive := filepath.Join(archives, "apicurio-registry-app-"+apicurioVersion+"-all.tar.gz")
		if output, err := exec.CommandContext(ctx, "tar", "-xzf", archive, "--no-same-owner", "-C", dir).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", archive, err, output)
		}
		return os.RemoveAll(archives)
	})
}

func (r *Registry) prepare(home string, o RegistryOptions) error {
	java, err := javaTool("java")
	if err != nil {
		return err
	}
	heap := o.HeapMB
	if heap == 0 {
		heap = registryHeapDefault
	}
	args := append(javaFlags(heap),
		"-Dquarkus.http.host=127.0.0.1", fmt.Sprintf("-Dquarkus.http.port=%d", r.Port),
		"-Dquarkus.log.level=WARN", "-Dquarkus.log.file.enable=false", "-Dquarkus.log.console.json=false")
	if o.Kafka == "" {
		args = append(args, "-Dapicurio.storage.kind=sql", "-Dapicurio.storage.sql.kind=h2")
	} else {
		args = append(args, "-Dapicurio.storage.kind=kafkasql", "-Dapicurio.kafkasql.bootstrap.servers="+o.Kafka)
	}
	args = append(args, "-jar", filepath.Join(home, "apicurio-registry-app-"+apicurioVersion+"-runner.jar"))
	r.command = func() *exec.Cmd { return exec.Command(java, args...) }
	r.ready = r.answers
	return nil
}

// answers asks for the subjects. The answer does not say whose it is, so the
// port's owner is asked for as well.
func (r *Registry) answers(ctx context.Context) error {
	var subjects []string
	if err := getJSON(ctx, r.URL()+"/subjects", &subjects); err != nil {
		return err
	}
	if !listens(r.child.pid, r.Port) {
		return errors.New("another process answers on its port")
	}
	return nil
}
