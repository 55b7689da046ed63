package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// clickHouseMajor is what Debian bookworm has. It is of 2018: what came later (DateTime64, the engine's own column of deleted rows)
// is met in ChDB only.
const clickHouseMajor = "18.16"

var clickHousePackage = debianRoot{
	suite:    "bookworm",
	packages: []string{"clickhouse-server"},
	assumed:  append([]string{"init-system-helpers", "mariadb-common", "tzdata"}, packagingOnly...),
	size:     "about 35 MB",
}

// ClickHouseOptions say how to start a ClickHouse.
type ClickHouseOptions struct {
	// Password is what the user default needs; none when empty.
	Password string
	// Profile are settings of the user's profile: {"max_memory_usage": "100000000"}.
	Profile map[string]string
	// Dir is the folder in which the instance's folder is made; default the system's temp folder.
	Dir string
	Log Log
}

// ClickHouse is a running server. What it has acknowledged survives Kill, not a power cut.
type ClickHouse struct {
	*server

	Version  string // exact
	password string
}

// StartClickHouse fetches the server when it is not in the cache, starts it and waits until it answers. The caller must Stop it.
func StartClickHouse(ctx context.Context, o ClickHouseOptions) (*ClickHouse, error) {
	const name = "clickhouse"
	home, err := clickHouseInstall(ctx, o.Log)
	if err != nil {
		unmet(name, err)
		return nil, err
	}
	base, err := newServer(name, o.Dir, name+".log")
	if err != nil {
		return nil, err
	}
	s := &ClickHouse{server: base, password: o.Password}
	config := filepath.Join(base.dir, "config.xml")
	if err = os.WriteFile(config, []byte(s.config()), 0o600); err == nil {
		err = os.WriteFile(filepath.Join(base.dir, "users.xml"), []byte(s.users(o.Profile)), 0o600)
	}
	if err != nil {
		return nil, joinStop(fmt.Errorf("write the config of ClickHouse: %w", err), s)
	}
	s.command = func() *exec.Cmd { return clickHouseCommand(home, "--config-file="+config) }
	s.ready = s.answers
	if err := s.Start(ctx); err != nil {
		return nil, joinStop(err, s)
	}
	if s.Version, err = s.Query(ctx, "SELECT version()"); err != nil {
		return nil, joinStop(fmt.Errorf("ask ClickHouse for its version: %w", err), s)
	}
	o.Log.printf("ClickHouse %s ready on %s, pid %d", s.Version, s.URL(), s.Pid())
	met(name, s.Version)
	return s, nil
}

// URL is the address of its HTTP interface.
func (s *ClickHouse) URL() string { return "http://" + s.Address() }

func (s *ClickHouse) config() string {
	return fmt.Sprintf(`<yandex>
	<logger><level>information</level><console>1</console></logger>
	<listen_host>%s</listen_host><http_port>%d</http_port><tcp_port>%d</tcp_port>
	<path>%s/data/</path><tmp_path>%[4]s/tmp/</tmp_path><user_files_path>%[4]s/files/</user_files_path><format_schema_path>%[4]s/schemas/</format_schema_path>
	<users_config>%[4]s/users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
	<mark_cache_size>16777216</mark_cache_size><uncompressed_cache_size>0</uncompressed_cache_size>
	<max_concurrent_queries>50</max_concurrent_queries><timezone>Asia/Kathmandu</timezone>
	<merge_tree><parts_to_throw_insert>1000</parts_to_throw_insert></merge_tree>
	<macros><instance>%s</instance></macros>
</yandex>
`, s.ip(), s.Port, s.extraPort(), s.dir, filepath.Base(s.dir))
}

func (s *ClickHouse) users(profile map[string]string) string {
	var settings strings.Builder
	for name, value := range profile {
		fmt.Fprintf(&settings, "<%s>%s</%[1]s>", name, value)
	}
	return fmt.Sprintf(`<yandex>
	<profiles><default><max_threads>2</max_threads>%s</default></profiles>
	<users><default><password>%s</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default></users>
	<quotas><default/></quotas>
</yandex>
`, settings.String(), s.password)
}

// clickHouseCommand runs the server through the loader and the C library that it came with.
func clickHouseCommand(home string, args ...string) *exec.Cmd {
	machine := debianArchitecture[runtime.GOARCH]
	folders := []string{filepath.Join(home, "root/usr/lib", machine.libraries), filepath.Join(home, "root/lib", machine.libraries)}
	binary := filepath.Join(home, "root/usr/sbin/clickhouse-server")
	cmd := exec.Command(filepath.Join(folders[1], machine.loader),
		append([]string{"--inhibit-cache", "--library-path", strings.Join(folders, ":"), "--argv0", "clickhouse-server", binary}, args...)...)
	cmd.SysProcAttr = unprivilegedAttributes()
	return cmd
}

func clickHouseInstall(ctx context.Context, log Log) (home string, err error) {
	return cached(ctx, "clickhouse-"+clickHouseMajor, log, func(ctx context.Context, dir string) error {
		if err := clickHousePackage.unpack(ctx, dir, log); err != nil {
			return fmt.Errorf("fetch ClickHouse: %w", err)
		}
		return nil
	})
}

// answers asks the server for the name that only its own config has.
func (s *ClickHouse) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	said, err := s.Query(ctx, "SELECT substitution FROM system.macros WHERE macro = 'instance'")
	if err == nil && said != filepath.Base(s.dir) {
		err = errors.New("another server answers on its port")
	}
	return err
}

// Query runs one statement and returns what the server prints, without the last end of line.
func (s *ClickHouse) Query(ctx context.Context, statement string) (string, error) {
	return httpQuery(ctx, s.URL(), s.password, statement)
}

// httpQuery sends a statement to the HTTP interface as the user default.
func httpQuery(ctx context.Context, url, password, statement string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(statement))
	if err != nil {
		return "", err
	}
	request.SetBasicAuth("default", password)
	request.Close = true
	client := &http.Client{Timeout: time.Minute}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, text)
	}
	return strings.TrimSuffix(string(text), "\n"), err
}
