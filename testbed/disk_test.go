package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// newDisk makes a disk for a test, or skips it with the reason.
func newDisk(t *testing.T, bytes int64) *Disk {
	t.Helper()
	d, err := NewDisk(t.Context(), bytes, t.Logf)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if exists(d.folder) {
			t.Errorf("Close left %s", d.folder)
		}
	})
	return d
}

func TestDiskIsFull(t *testing.T) {
	d := newDisk(t, 4<<20)
	path := filepath.Join(d.Dir, "data")
	write := func() error { return os.WriteFile(path, make([]byte, 100_000), 0o600) }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Fill(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"2", []byte("x"), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("one byte more on a full disk: %v", err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err) // the second round takes its place too
		}
	}
	for range 2 {
		if err := d.Free(); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(); err != nil {
		t.Errorf("on a disk that was freed: %v", err)
	}
}

func TestOrphanDisksAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	orphan := newDisk(t, 1<<20)
	living := newDisk(t, 1<<20)
	orphan.owner.Close() // as the kernel does at a process's end
	newDisk(t, 1<<20)
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if exists(orphan.folder) || strings.Contains(string(mounts), orphan.Dir) {
		t.Errorf("a dead process's disk %s is there", orphan.Dir)
	}
	if !exists(living.folder) || !strings.Contains(string(mounts), living.Dir) {
		t.Errorf("a living process's disk %s is gone", living.Dir)
	}
}

func TestDiskSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("SLUICE_MET", "") // it is this test that hides it
	if _, err := NewDisk(t.Context(), 1<<20, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without any command: %v", err)
	}
}

// TestKafkaOnFullDisk writes until the disk is full, and wants back all that was
// acknowledged once there is room.
func TestKafkaOnFullDisk(t *testing.T) {
	needsTime(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	d := newDisk(t, 64<<20)
	k, err := StartKafka(ctx, KafkaOptions{HeapMB: 256, Dir: d.Dir, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, k)
	writer := kafkaClient(t, k, kgo.DefaultProduceTopic("t"), kgo.RecordDeliveryTimeout(3*time.Second))
	if _, err := kadm.NewClient(writer).CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	produce := func(value string) error {
		err := writer.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr()
		if err == nil {
			acknowledged = append(acknowledged, value)
		}
		return err
	}
	if err := produce("before"); err != nil {
		t.Fatal(err)
	}
	if err := d.Fill(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err = produce(fmt.Sprintf("%d-%s", i, strings.Repeat("x", 10_000))); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a megabyte went on a full disk")
	}
	t.Logf("%d records were acknowledged, then: %v; the broker runs: %t", len(acknowledged), err, k.Running())
	if err := d.Free(); err != nil {
		t.Fatal(err)
	}
	killAndStart(t, k)
	got := readAll(ctx, t, k, "t", len(acknowledged))
	if want := strings.Join(acknowledged, " "); !strings.HasPrefix(got, want) {
		t.Errorf("the topic has %d bytes that do not begin with the %d acknowledged ones", len(got), len(want))
	}
	if err := kafkaClient(t, k).ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("after")}).FirstErr(); err != nil {
		t.Errorf("on a disk that was freed: %v", err)
	}
}
