package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// fallbackMirror is used where the machine's own apt sources name no Debian
// mirror (another distribution).
const fallbackMirror = "http://deb.debian.org/debian"

// debianRoot describes a folder of unpacked Debian packages.
type debianRoot struct {
	suite    string
	packages []string
	// assumed names packages that apt takes for installed: dependencies of the
	// packaging (maintainer scripts, perl tools) that a server does not need.
	assumed []string
	size    string // of the download, for the progress line
}

// debianArchitecture maps Go's name of the machine to Debian's, to the folder
// of its libraries and to the name of its loader.
var debianArchitecture = map[string]struct{ name, libraries, loader string }{
	"amd64": {"amd64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"},
	"arm64": {"arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1"},
}

// aptAvailable says why Debian packages can not be had on this machine.
func aptAvailable() error {
	for _, tool := range []string{"apt-get", "apt-config", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w; Debian packages are fetched by the machine's own apt", err)
		}
	}
	if _, known := debianArchitecture[runtime.GOARCH]; !known {
		return fmt.Errorf("no Debian packages are known for %s", runtime.GOARCH)
	}
	return nil
}

// unpack downloads the packages with all they depend on and unpacks them into
// dir/root. It works as any user: the apt that it runs has its own state, cache
// and list of sources, and none of the host's hooks, in a folder that is removed
// at the end.
func (d debianRoot) unpack(ctx context.Context, dir string, log Log) error {
	if err := aptAvailable(); err != nil {
		return err
	}
	apt, err := newPrivateApt(ctx, filepath.Join(dir, "apt"), d)
	if err != nil {
		return err
	}
	defer os.RemoveAll(apt.dir)
	log.printf("apt: list of Debian %s (about 11 MB) from %s", d.suite, apt.mirror)
	if err := apt.run(ctx, "update"); err != nil {
		return err
	}
	log.printf("apt: %s with libraries (%s) from Debian %s", strings.Join(d.packages, ", "), d.size, d.suite)
	install := append([]string{"install", "--yes", "--download-only", "--no-install-recommends"}, d.packages...)
	if err := apt.run(ctx, install...); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(apt.dir, "cache", "archives", "*.deb"))
	if err != nil || len(archives) == 0 {
		return fmt.Errorf("apt downloaded nothing for %s (%v)", strings.Join(d.packages, ", "), err)
	}
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	for _, archive := range archives {
		if err := unpackDebian(ctx, archive, root); err != nil {
			return err
		}
	}
	for _, unused := range []string{"doc", "man", "locale", "lintian", "i18n"} {
		if err := os.RemoveAll(filepath.Join(root, "usr/share", unused)); err != nil {
			return err
		}
	}
	return nil
}

// unpackDebian pipes the package's files through tar, which, unlike dpkg-deb's
// own extraction, leaves the owner alone and follows the root's folder links
// (/lib -> usr/lib) where the package brings a folder of that name.
func unpackDebian(ctx context.Context, archive, root string) error {
	list := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", archive)
	extract := exec.CommandContext(ctx, "tar", "--extract", "--no-same-owner", "--keep-directory-symlink", "--directory", root)
	var problems bytes.Buffer
	list.Stderr, extract.Stderr = &problems, &problems
	pipe, err := list.StdoutPipe()
	if err != nil {
		return err
	}
	extract.Stdin = pipe
	if err := list.Start(); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(archive), err)
	}
	extractErr := extract.Run()
	if err := errors.Join(extractErr, list.Wait()); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", filepath.Base(archive), err, problems.String())
	}
	return nil
}

// privateApt is an apt with a configuration of its own.
type privateApt struct {
	dir    string
	config string
	mirror string
}

func newPrivateApt(ctx context.Context, dir string, d debianRoot) (*privateApt, error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make apt's folders: %w", err)
		}
	}
	source := hostMirror("/etc/apt")
	apt := &privateApt{dir: dir, config: filepath.Join(dir, "apt.conf"), mirror: source.uri}
	settings, err := hostAcquireSettings(ctx)
	if err != nil {
		return nil, err
	}
	files := map[string]string{
		"sources.list": source.line(d.suite),
		"status":       assumedInstalled(d.assumed),
		"apt.conf":     settings + privateSettings(dir),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("write apt's %s: %w", name, err)
		}
	}
	return apt, nil
}

// privateSettings turn apt away from everything of the host's. The host's
// apt.conf.d is left out because its hooks (Post-Invoke) clean the host's
// package cache or refresh its software catalogue after every update.
func privateSettings(dir string) string {
	return fmt.Sprintf(`Dir::State %[1]q;
Dir::State::lists "lists/";
Dir::State::status "%[2]s/status";
Dir::Cache "%[2]s/cache/";
Dir::Log "%[2]s/";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "%[2]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture %[3]q;
APT::Architectures { %[3]q; };
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
`, dir+"/", dir, debianArchitecture[runtime.GOARCH].name)
}

// hostAcquireSettings is how the machine fetches (proxies, time-outs), without
// which a private apt would not get out of some networks. Lists are left out:
// the private settings name their own.
func hostAcquireSettings(ctx context.Context) (string, error) {
	output, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return "", fmt.Errorf("read the machine's apt settings: %w", err)
	}
	var settings strings.Builder
	for line := range strings.Lines(string(output)) {
		for _, wanted := range []string{"Acquire::http::", "Acquire::https::", "Acquire::Check-Valid-Until", "Dir::Bin::Methods"} {
			if strings.HasPrefix(line, wanted) {
				settings.WriteString(line)
			}
		}
	}
	return settings.String(), nil
}

// assumedInstalled is a dpkg status file in which the packages are there, in a
// version that satisfies everybody.
func assumedInstalled(packages []string) string {
	var status strings.Builder
	for _, name := range packages {
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nArchitecture: %s\nMulti-Arch: allowed\n"+
			"Version: 99:99\nMaintainer: nobody\nDescription: assumed, not needed to run the server\n\n",
			name, debianArchitecture[runtime.GOARCH].name)
	}
	return status.String()
}

func (a *privateApt) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.config, "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-get %s: %w:\n%s", strings.Join(args, " "), err, lastLines(output, 15))
	}
	return nil
}

func lastLines(output []byte, count int) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
