package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// s3ProxyVersion is S3Proxy's.
const s3ProxyVersion = "3.0.0"

// s3HeapDefault is what it is content with in tests, in megabytes.
const s3HeapDefault = 256

// S3AccessKey and S3SecretKey are the account of a server that StartS3 starts; requests that are not signed with it are refused.
const (
	S3AccessKey = "sluice"
	S3SecretKey = "sluice-secret"
)

// s3Logging has it write no line for each request.
const s3Logging = `<configuration><appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d %level %logger{1} %msg%n</pattern></encoder>
</appender><root level="WARN"><appender-ref ref="out"/></root></configuration>`

// S3Options say how to start a server that speaks S3.
type S3Options struct {
	// Buckets are made before it starts.
	Buckets []string
	// HeapMB bounds the Java heap, in megabytes; default 256.
	HeapMB int
	// Dir is the folder in which the instance's folder is made; default the system's temp folder.
	Dir string
	Log Log
}

// S3 is a running S3Proxy, which keeps objects in a folder: a server that speaks S3, verifies signatures and knows If-Match and
// If-None-Match of PUT. It is not Amazon's.
type S3 struct {
	*server

	Version string
}

// StartS3 fetches the server when it is not in the cache, starts it and waits until it answers. The caller must Stop it.
func StartS3(ctx context.Context, o S3Options) (*S3, error) {
	const name = "s3proxy"
	home, err := s3Install(ctx, o.Log)
	if err != nil {
		unmet(name, err)
		return nil, err
	}
	base, err := newServer(name, o.Dir, name+".log")
	if err != nil {
		return nil, err
	}
	s := &S3{server: base, Version: s3ProxyVersion}
	if err := s.prepare(home, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare %s: %w", name, err), s)
	}
	if err := s.Start(ctx); err != nil {
		return nil, joinStop(err, s)
	}
	o.Log.printf("S3Proxy %s ready on %s, pid %d", s.Version, s.URL(), s.Pid())
	met(name, s.Version)
	return s, nil
}

// URL is the endpoint; buckets are the first part of paths below it.
func (s *S3) URL() string { return "http://" + s.Address() }

// Objects is the folder in which a bucket's objects lie as files.
func (s *S3) Objects(bucket string) string { return filepath.Join(s.dir, "objects", bucket) }

func s3Install(ctx context.Context, log Log) (string, error) {
	return cached(ctx, "s3proxy-"+s3ProxyVersion, log, func(ctx context.Context, dir string) error {
		log.printf("maven: S3Proxy %s (171 jars, 54 MB)", s3ProxyVersion)
		project := mavenProject{artifacts: []string{"org.gaul:s3proxy:" + s3ProxyVersion}, transitive: true}
		if err := mavenCopy(ctx, filepath.Join(dir, "lib"), project); err != nil {
			return fmt.Errorf("fetch S3Proxy: %w", err)
		}
		return nil
	})
}

func (s *S3) prepare(home string, o S3Options) error {
	java, err := javaTool("java")
	if err != nil {
		return err
	}
	for _, bucket := range o.Buckets {
		if err := os.MkdirAll(s.Objects(bucket), 0o755); err != nil {
			return err
		}
	}
	config := filepath.Join(s.dir, "s3proxy.conf")
	text := strings.Join([]string{"s3proxy.endpoint=" + s.URL(), "s3proxy.authorization=aws-v2-or-v4", "s3proxy.identity=" + S3AccessKey,
		"s3proxy.credential=" + S3SecretKey, "jclouds.provider=filesystem-nio2", "jclouds.filesystem.basedir=" + filepath.Join(s.dir, "objects")}, "\n")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	logging := filepath.Join(s.dir, "logback.xml")
	if err := os.WriteFile(logging, []byte(s3Logging), 0o644); err != nil {
		return err
	}
	heap := o.HeapMB
	if heap == 0 {
		heap = s3HeapDefault
	}
	s.command = func() *exec.Cmd {
		return exec.Command(java, fmt.Sprintf("-Xmx%dm", heap), "-XX:+ExitOnOutOfMemoryError", "-XX:TieredStopAtLevel=1", "-Djava.io.tmpdir="+s.dir, "-Dlogback.configurationFile="+logging,
			"-cp", filepath.Join(home, "lib", "*"), "org.gaul.s3proxy.Main", "--properties", config)
	}
	s.ready = s.answers
	return nil
}

// answers asks for the buckets without an account, which is refused. The answer does not say whose it is, so the port's owner is asked
// for as well.
func (s *S3) answers(context.Context) error {
	conn, err := net.DialTimeout("tcp", s.Address(), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", s.Address())
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		return fmt.Errorf("it answers %s", answer.Status)
	}
	if !listens(s.child.pid, s.Port) {
		return errors.New("another process answers on its port")
	}
	return nil
}
