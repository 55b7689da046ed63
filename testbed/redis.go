package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RedisKind names a server that speaks Redis's protocol.
type RedisKind string

// The kinds that can be fetched.
const (
	Redis  RedisKind = "redis"
	Valkey RedisKind = "valkey"
)

// redisRecipe is where a kind comes from.
type redisRecipe struct {
	version string // of the folder in the cache: the packages' minor version
	binary  string
	debianRoot
}

// redisPackaging are what the packages' scripts need to make a system service, which is not made here.
var redisPackaging = append([]string{"init-system-helpers", "systemd", "systemd-sysv"}, packagingOnly...)

// Valkey is not in bookworm; trixie's is started with the C library that it came with.
var redisRecipes = map[RedisKind]redisRecipe{
	Redis:  {"7.0", "redis-server", debianRoot{suite: "bookworm", packages: []string{"redis-server"}, assumed: redisPackaging, size: "about 10 MB"}},
	Valkey: {"8.1", "valkey-server", debianRoot{suite: "trixie", packages: []string{"valkey-server"}, assumed: redisPackaging, size: "about 10 MB"}},
}

// RedisOptions say how to start a server.
type RedisOptions struct {
	// Kind is Redis when empty.
	Kind RedisKind
	// Settings are lines of the server's config and win over this package's, which are: nothing is written to disk.
	Settings map[string]string
	// Dir is the folder in which the instance's folder is made; default the system's temp folder.
	Dir string
	Log Log
}

// RedisServer is a running Redis or Valkey.
type RedisServer struct {
	*server

	Kind RedisKind
	// Version is exact, as the server says it.
	Version string
}

// StartRedis fetches the server when it is not in the cache, starts it and waits until it answers. The caller must Stop it.
func StartRedis(ctx context.Context, o RedisOptions) (*RedisServer, error) {
	if o.Kind == "" {
		o.Kind = Redis
	}
	home, version, err := redisInstall(ctx, o.Kind, o.Log)
	if err != nil {
		unmet(string(o.Kind), err)
		return nil, err
	}
	base, err := newServer(string(o.Kind), o.Dir, string(o.Kind)+".log")
	if err != nil {
		return nil, err
	}
	s := &RedisServer{server: base, Kind: o.Kind, Version: version}
	config := filepath.Join(base.dir, "server.conf")
	if err := os.WriteFile(config, []byte(s.settings(o.Settings)), 0o644); err != nil {
		return nil, joinStop(fmt.Errorf("write the config of %s: %w", o.Kind, err), s)
	}
	s.command = func() *exec.Cmd { return redisCommand(home, o.Kind, config) }
	s.ready = s.answers
	if err := s.Start(ctx); err != nil {
		return nil, joinStop(err, s)
	}
	o.Log.printf("%s %s ready on %s, pid %d", s.Kind, s.Version, s.Address(), s.Pid())
	met(string(o.Kind), s.Version)
	return s, nil
}

func (s *RedisServer) settings(own map[string]string) string {
	settings := map[string]string{
		"bind": s.ip(), "port": strconv.Itoa(s.Port), "dir": s.dir, "daemonize": "no", "save": `""`, "appendonly": "no",
		"enable-debug-command": "local",
	}
	if own["cluster-enabled"] == "yes" {
		settings["cluster-port"] = strconv.Itoa(s.extraPort()) // by default 10,000 above the port, which may be taken
		settings["cluster-node-timeout"] = "2000"
	}
	maps.Copy(settings, own)
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&lines, "%s %s\n", name, settings[name])
	}
	return lines.String()
}

// redisCommand runs a binary through the loader and the C library that it came with.
func redisCommand(home string, kind RedisKind, args ...string) *exec.Cmd {
	machine := debianArchitecture[runtime.GOARCH]
	folders := []string{filepath.Join(home, "root/usr/lib", machine.libraries), filepath.Join(home, "root/lib", machine.libraries)}
	loader := filepath.Join(folders[0], machine.loader)
	if !exists(loader) { // before trixie, the C library is not under /usr
		loader = filepath.Join(folders[1], machine.loader)
	}
	binary := redisRecipes[kind].binary
	path := filepath.Join(home, "root/usr/bin", binary)
	return exec.Command(loader, append([]string{"--inhibit-cache", "--library-path", strings.Join(folders, ":"), "--argv0", binary, path}, args...)...)
}

var redisVersionPattern = regexp.MustCompile(`v=([0-9.]+)`)

func redisInstall(ctx context.Context, kind RedisKind, log Log) (home, version string, err error) {
	recipe, known := redisRecipes[kind]
	if !known {
		return "", "", fmt.Errorf("unknown server %q; there are %s and %s", kind, Redis, Valkey)
	}
	home, err = cached(ctx, string(kind)+"-"+recipe.version, log, func(ctx context.Context, dir string) error {
		if err := recipe.unpack(ctx, dir, log); err != nil {
			return fmt.Errorf("fetch %s: %w", kind, err)
		}
		_, err := redisVersion(dir, kind)
		return err
	})
	if err != nil {
		return "", "", err
	}
	version, err = redisVersion(home, kind)
	return home, version, err
}

func redisVersion(home string, kind RedisKind) (string, error) {
	output, err := redisCommand(home, kind, "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w: %s", kind, err, output)
	}
	match := redisVersionPattern.FindSubmatch(output)
	if match == nil {
		return "", fmt.Errorf("%s says of its version: %s", kind, output)
	}
	return string(match[1]), nil
}

// answers asks the server for its process id, which no other server has, and whether it has read its data.
func (s *RedisServer) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	said, err := s.Do(ctx, "INFO")
	if err != nil {
		return err
	}
	if pid := fmt.Sprintf("process_id:%d\r\n", s.child.pid); !strings.Contains(said, pid) {
		return errors.New("another server answers on its port")
	}
	if !strings.Contains(said, "\nloading:0") {
		return errors.New("it reads its data still")
	}
	return nil
}

// Do sends one command over a connection of its own and returns the answer as text; the lines of a list are joined.
func (s *RedisServer) Do(ctx context.Context, args ...string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Address())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	request := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := conn.Write(request); err != nil {
		return "", err
	}
	return redisAnswer(bufio.NewReader(conn))
}

// redisAnswer reads one answer of the protocol's second version.
func redisAnswer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '-':
		return "", errors.New(text)
	case '$':
		size, err := strconv.Atoi(text)
		if err != nil || size < 0 {
			return "", err
		}
		b := make([]byte, size+2)
		_, err = io.ReadFull(r, b)
		return string(b[:size]), err
	case '*':
		count, err := strconv.Atoi(text)
		if err != nil {
			return "", err
		}
		lines := make([]string, max(count, 0))
		for i := range lines {
			if lines[i], err = redisAnswer(r); err != nil {
				return "", err
			}
		}
		return strings.Join(lines, "\n"), nil
	}
	return text, nil
}

// redisSlots is how many slots a cluster has.
const redisSlots = 16384

// StartRedisCluster starts so many servers as one cluster, each with an equal share of the slots and no replicas. The caller must
// Stop each.
func StartRedisCluster(ctx context.Context, nodes int, o RedisOptions) (cluster []*RedisServer, err error) {
	defer func() {
		if err != nil {
			for _, s := range cluster {
				err = joinStop(err, s)
			}
			cluster = nil
		}
	}()
	o.Settings = maps.Clone(o.Settings)
	if o.Settings == nil {
		o.Settings = make(map[string]string)
	}
	o.Settings["cluster-enabled"] = "yes"
	for i := range nodes {
		s, err := StartRedis(ctx, o)
		if err != nil {
			return cluster, err
		}
		cluster = append(cluster, s)
		first, end := i*redisSlots/nodes, (i+1)*redisSlots/nodes
		if _, err := s.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(end-1)); err != nil {
			return cluster, fmt.Errorf("give %s its slots: %w", s.Address(), err)
		}
		if _, err := s.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return cluster, fmt.Errorf("set the epoch of %s: %w", s.Address(), err)
		}
		if i == 0 {
			continue
		}
		if _, err := s.Do(ctx, "CLUSTER", "MEET", cluster[0].ip(), strconv.Itoa(cluster[0].Port), strconv.Itoa(cluster[0].ports[0])); err != nil {
			return cluster, fmt.Errorf("make %s meet the others: %w", s.Address(), err)
		}
	}
	return cluster, clusterReady(ctx, cluster)
}

// clusterReady waits until every node knows all the slots.
func clusterReady(ctx context.Context, cluster []*RedisServer) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, s := range cluster {
		for {
			said, err := s.Do(ctx, "CLUSTER", "INFO")
			if err == nil && strings.Contains(said, "cluster_state:ok") && strings.Contains(said, fmt.Sprintf("cluster_known_nodes:%d\r\n", len(cluster))) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the cluster is not ready in time: %w: %s", errors.Join(err, syscall.ETIMEDOUT), said)
			case <-time.After(readyPoll):
			}
		}
	}
	return nil
}
