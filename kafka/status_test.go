package kafka

import (
	"context"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func testStatus(t *testing.T, b *broker) {
	prefix := prefixOf(t)
	b.ensure(t, StatusTopic(prefix), b.config.StatusSettings())
	one := NewReporter(b.client, prefix, "one", "127.0.0.1:1")
	two := NewReporter(b.client, prefix, "two", "")
	must(t, one.Write(ctxOf(t), RoleSource, map[string]int{"rows": 1}))
	must(t, two.Write(ctxOf(t), RoleSink, nil))
	must(t, one.Write(ctxOf(t), RoleSource, map[string]int{"rows": 2}))
	got, err := ReadStatus(ctxOf(t), b.client, prefix)
	must(t, err)
	if len(got) != 2 || got[0].Role != RoleSink || got[1].Name != "one" || got[1].Beat != 2 || string(got[1].Report) != `{"rows":2}` ||
		got[1].Process.PID != os.Getpid() || got[1].HTTP != "127.0.0.1:1" {
		t.Errorf("got %+v", got)
	}
	must(t, one.Leave(ctxOf(t)))
	must(t, Forget(ctxOf(t), b.client, prefix, two.Instance()))
	if got, err = ReadStatus(ctxOf(t), b.client, prefix); err != nil || len(got) != 0 {
		t.Errorf("all gone, and there is %+v, %v", got, err)
	}
}

func testStandby(t *testing.T, b *broker) {
	prefix := prefixOf(t)
	b.ensure(t, StatusTopic(prefix), b.config.StatusSettings())
	const quiet = 2 * time.Second
	wait := func(self string) (time.Duration, int) {
		t.Helper()
		began, noticed := time.Now(), 0
		must(t, Standby(ctxOf(t), b.client, prefix, self, quiet, func(Status) { noticed++ }, nil))
		return time.Since(began), noticed
	}
	me := NewReporter(b.client, prefix, "x", "")
	must(t, me.Write(ctxOf(t), RoleSource, nil))
	must(t, NewReporter(b.client, prefix, "x", "").Write(ctxOf(t), RoleStandby, nil)) // no source
	dead := NewReporter(b.client, prefix, "x", "")
	dead.base.Process = deadProcess(t)
	must(t, dead.Write(ctxOf(t), RoleSource, nil))
	if took, noticed := wait(me.Instance()); took > quiet/2 || noticed != 0 {
		t.Errorf("nobody else is alive: waited %v, noticed %d", took, noticed)
	}
	// One lives for a second more, then hangs: the process is there, its status stands still.
	other := NewReporter(b.client, prefix, "x", "")
	must(t, other.Write(ctxOf(t), RoleSource, nil))
	var stop atomic.Bool
	go func() {
		for !stop.Load() {
			_ = other.Write(context.Background(), RoleSource, nil)
			time.Sleep(200 * time.Millisecond)
		}
	}()
	time.AfterFunc(time.Second, func() { stop.Store(true) })
	if took, noticed := wait(me.Instance()); took < quiet+500*time.Millisecond || took > 4*quiet || noticed != 1 {
		t.Errorf("waited %v, noticed %d", took, noticed)
	}
	// One leaves in good order.
	time.AfterFunc(300*time.Millisecond, func() { _ = other.Leave(context.Background()) })
	if took, _ := wait(me.Instance()); took > quiet {
		t.Errorf("it left, and the wait was %v", took)
	}
	// A status that another version wrote counts as long as it changes.
	b.produce(t, &kgo.Record{Topic: StatusTopic(prefix), Key: []byte("newer"), Value: []byte(`{"format":9}`)})
	if took, _ := wait(me.Instance()); took < quiet {
		t.Errorf("a status of another format: waited %v", took)
	}
}

// deadProcess names a process of this machine that has ended.
func deadProcess(t *testing.T) Process {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	must(t, cmd.Start())
	p := ThisProcess()
	p.PID, p.Started = cmd.Process.Pid, startOf(cmd.Process.Pid)
	if p.Started == "" {
		t.Skip("this system does not say when a process started")
	}
	if p.Dead() {
		t.Error("a living process is dead")
	}
	must(t, cmd.Process.Kill())
	for i := 0; !p.Dead() && i < 100; i++ { // a zombie is dead too
		time.Sleep(10 * time.Millisecond)
	}
	if !p.Dead() {
		t.Error("a killed process lives, though its parent has not looked yet")
	}
	_ = cmd.Wait()
	return p
}

func TestProcessElsewhereIsNotKnownToBeDead(t *testing.T) {
	for name, change := range map[string]func(*Process){
		"host":      func(p *Process) { p.Host += "x" },
		"boot":      func(p *Process) { p.Boot += "x" },
		"namespace": func(p *Process) { p.Namespace += "x" },
		"unknown":   func(p *Process) { p.Started = "" },
	} {
		p := deadProcess(t)
		change(&p)
		if p.Dead() {
			t.Errorf("another %s: dead", name)
		}
	}
	if ThisProcess().Dead() {
		t.Error("this process is dead")
	}
}
