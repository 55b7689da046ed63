package testbed

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// dependencyPlugin is pinned: the one that a Maven brings differs by machine.
const dependencyPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"

// mavenProject is a set of artifacts, "group:name:version[:type[:classifier]]".
type mavenProject struct {
	artifacts []string
	// transitive says whether what they depend on comes too.
	transitive bool
	// standIns are parent POMs, "group:name:version", that the registry does
	// not have and Maven insists on, even where nothing transitive is asked
	// for. Empty ones take their place, in a local repository that is thrown
	// away, so that no other build on this machine meets them.
	standIns []string
}

// mavenCopy has Maven download the artifacts and copies them into a folder.
// Maven keeps its own cache, by its own settings.
func mavenCopy(ctx context.Context, into string, project mavenProject) error {
	if _, err := exec.LookPath("mvn"); err != nil {
		return fmt.Errorf("%w; Maven fetches what is written in Java", err)
	}
	work, err := os.MkdirTemp("", "sluice-maven-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	standIns := filepath.Join(work, "stand-ins")
	pom := filepath.Join(work, "pom.xml")
	if err := os.WriteFile(pom, []byte(project.pom(standIns)), 0o644); err != nil {
		return err
	}
	args := []string{
		"--batch-mode", "--quiet", "--file", pom, dependencyPlugin + ":copy-dependencies",
		"-DoutputDirectory=" + into, "-DincludeScope=runtime",
		fmt.Sprintf("-DexcludeTransitive=%t", !project.transitive),
	}
	if len(project.standIns) > 0 {
		if err := project.writeStandIns(standIns); err != nil {
			return fmt.Errorf("write stand-ins for parent POMs: %w", err)
		}
		args = append(args, "-Dmaven.repo.local="+filepath.Join(work, "repository"))
	}
	cmd := exec.CommandContext(ctx, "mvn", args...)
	cmd.Dir = work
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mvn copy-dependencies of %s: %w:\n%s", strings.Join(project.artifacts, ", "), err, lastLines(output, 15))
	}
	return nil
}

// writeStandIns lays the empty parents out as a Maven repository.
func (p mavenProject) writeStandIns(repository string) error {
	for _, name := range p.standIns {
		parts := strings.Split(name, ":")
		group, artifact, version := parts[0], parts[1], parts[2]
		dir := filepath.Join(repository, strings.ReplaceAll(group, ".", "/"), artifact, version)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		pom := fmt.Sprintf(`<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>`+
			`<groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version><packaging>pom</packaging></project>`,
			group, artifact, version)
		if err := os.WriteFile(filepath.Join(dir, artifact+"-"+version+".pom"), []byte(pom), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pom writes the project. The names come from constants of this package, so
// nothing in them needs escaping.
func (p mavenProject) pom(standIns string) string {
	var dependencies strings.Builder
	for _, artifact := range p.artifacts {
		parts := append(strings.Split(artifact, ":"), "", "") // type and classifier may be missing
		fmt.Fprintf(&dependencies, "<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version>", parts[0], parts[1], parts[2])
		if parts[3] != "" {
			fmt.Fprintf(&dependencies, "<type>%s</type>", parts[3])
		}
		if parts[4] != "" {
			fmt.Fprintf(&dependencies, "<classifier>%s</classifier>", parts[4])
		}
		dependencies.WriteString("</dependency>\n")
	}
	repositories := ""
	if len(p.standIns) > 0 {
		repositories = "<repositories><repository><id>stand-ins</id><url>file://" + standIns + "</url></repository></repositories>\n"
	}
	return `<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>fetch</artifactId><version>1</version>
` + repositories + `<dependencies>
` + dependencies.String() + `</dependencies>
</project>
`
}

// javaTool finds a program of the JDK.
func javaTool(name string) (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if path := filepath.Join(home, "bin", name); exists(path) {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w; a JDK of version 17 or later runs what is written in Java", err)
	}
	return path, nil
}

// javaFlags are those of a server. The simple compiler only: a server of a test ends before the better one has paid for itself, and one
// that is killed and started again would pay each time.
func javaFlags(heapMB int) []string {
	return append(javaFlagsMeasured(heapMB), "-XX:TieredStopAtLevel=1")
}

// javaFlagsMeasured are those of a server that is measured: it has both compilers, as where it runs for years.
func javaFlagsMeasured(heapMB int) []string {
	return []string{fmt.Sprintf("-Xmx%dm", heapMB), "-XX:+ExitOnOutOfMemoryError"}
}

// javaFlagsFor are the one or the other.
func javaFlagsFor(heapMB int, measured bool) []string {
	if measured {
		return javaFlagsMeasured(heapMB)
	}
	return javaFlags(heapMB)
}

// removeJars removes the jars that the patterns match.
func removeJars(dir string, patterns []string) error {
	for _, pattern := range patterns {
		jars, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, jar := range jars {
			if err := os.Remove(jar); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkSums refuses a folder in which one of the named jars is not the one that was pinned.
func checkSums(dir string, sums map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if err := checkSum(filepath.Join(dir, name), sums[name]); err != nil {
			return err
		}
	}
	return nil
}

// unzip unpacks an archive (a jar is one) into a folder.
func unzip(archive, into string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("open %s: %w", archive, err)
	}
	defer reader.Close()
	for _, entry := range reader.File {
		if entry.FileInfo().IsDir() {
			continue
		}
		if err := unzipFile(entry, into); err != nil {
			return fmt.Errorf("unpack %s of %s: %w", entry.Name, archive, err)
		}
	}
	return nil
}

// readZipped reads one file of an archive.
func readZipped(archive, name string) ([]byte, error) {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", archive, err)
	}
	defer reader.Close()
	content, err := fs.ReadFile(reader, name)
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", archive, err)
	}
	return content, nil
}

func unzipFile(entry *zip.File, into string) error {
	if !filepath.IsLocal(entry.Name) {
		return fmt.Errorf("the name leads out of the folder")
	}
	path := filepath.Join(into, entry.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	content, err := entry.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
