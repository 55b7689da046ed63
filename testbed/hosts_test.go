package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// echoVariable makes this test binary a server on that address, which says back
// what it hears.
const echoVariable = "TESTBED_TEST_ECHO"

func echo(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // until either side has enough
		}()
	}
}

// newNet makes a network for a test, or skips it with the reason.
func newNet(t *testing.T) *Net {
	t.Helper()
	n, err := NewNet(t.Context(), t.Logf)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if left := leftOf(n); len(left) > 0 {
			t.Errorf("Close left %v", left)
		}
	})
	return n
}

// leftOf is what the machine has of a net.
func leftOf(n *Net) []string {
	left, _ := filepath.Glob(filepath.Join(netNamespaces, n.namespace("*"))) // the pattern is well formed
	if _, err := net.InterfaceByName(n.device()); err == nil {
		left = append(left, n.device())
	}
	return left
}

func newHost(t *testing.T, n *Net, name string) *Host {
	t.Helper()
	h, err := n.Host(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// startEcho runs the echo server on a host.
func startEcho(t *testing.T, h *Host) *server {
	t.Helper()
	s, err := newServer("echo", t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s)
	s.host = h
	s.command = func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), echoVariable+"="+s.Address())
		return cmd
	}
	s.ready = func(context.Context) error {
		if !listens(s.child.pid, s.Port) {
			return errors.New("it does not listen yet")
		}
		return nil
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestHostLink pulls the cable of one of two hosts under an open connection.
func TestHostLink(t *testing.T) {
	n := newNet(t)
	before := goleak.IgnoreCurrent()
	cut, other := startEcho(t, newHost(t, n, "cut")), startEcho(t, newHost(t, n, "other"))
	conns := map[*server]net.Conn{}
	readers := map[*server]*bufio.Reader{}
	for _, s := range []*server{cut, other} {
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[s], readers[s] = conn, bufio.NewReader(conn)
	}
	hear := func(s *server, wait time.Duration) (string, error) {
		if err := conns[s].SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		return readers[s].ReadString('\n')
	}
	say := func(s *server, line string) {
		if _, err := fmt.Fprintln(conns[s], line); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*server{cut, other} {
		say(s, "one")
		if line, err := hear(s, 10*time.Second); line != "one\n" {
			t.Fatalf("heard %q, %v", line, err)
		}
	}
	if err := cut.host.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	say(cut, "two")
	say(other, "two")
	if line, err := hear(other, 10*time.Second); line != "two\n" {
		t.Errorf("the host whose link is up said %q, %v", line, err)
	}
	if line, err := hear(cut, 500*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("over a link that is down came %q, %v, not silence", line, err)
	}
	if err := cut.host.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if line, err := hear(cut, 20*time.Second); line != "two\n" {
		t.Errorf("after the link came back was heard %q, %v", line, err)
	}
	killAndStart(t, cut)
	conn, err := net.Dial("tcp", cut.Address())
	if err != nil {
		t.Fatalf("after a kill and a start: %v", err)
	}
	conn.Close()
	for _, s := range []*server{cut, other} {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// TestNetsAtOnce has two networks side by side and one of a process that died.
func TestNetsAtOnce(t *testing.T) {
	newNet(t) // skips where there are none
	orphan, err := NewNet(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	newHost(t, orphan, "a")
	first, second := newNet(t), newNet(t)
	if first.number == second.number || first.IP == second.IP {
		t.Errorf("two networks are %s and %s", first.IP, second.IP)
	}
	a := newHost(t, first, "a")
	if b := newHost(t, second, "a"); a.IP == b.IP {
		t.Errorf("hosts of two networks are both %s", a.IP)
	}
	for _, name := range []string{"a", "switch", "A b", ""} {
		if _, err := first.Host(t.Context(), name); err == nil {
			t.Errorf("a host %q was made", name)
		}
	}
	orphan.owner.Close() // as the kernel does at a process's end
	newNet(t)
	if left := leftOf(orphan); len(left) > 0 {
		t.Errorf("of a dead process's network there is %v", left)
	}
	if left := leftOf(first); len(left) != 3 {
		t.Errorf("of a living network there is only %v", left)
	}
}

// TestNetSaysWhatIsMissing is about machines without iproute2.
func TestNetSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("SLUICE_MET", "") // it is this test that hides it
	if _, err := NewNet(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without any command: %v", err)
	}
}

// TestMySQLOnHosts replicates from one host to another and cuts the source off.
func TestMySQLOnHosts(t *testing.T) {
	n := newNet(t)
	source := startMySQL(t, MySQLOptions{Host: newHost(t, n, "source")})
	replica := startMySQL(t, MySQLOptions{Host: newHost(t, n, "replica")})
	if want := fmt.Sprintf("%s:%d", source.host.IP, source.Port); source.Address() != want {
		t.Errorf("the address is %s, want %s", source.Address(), want)
	}
	if err := Replicate(t.Context(), source, replica); err != nil {
		t.Fatal(err)
	}
	mustExec(t, source, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
	if err := WaitForReplica(t.Context(), source, replica); err != nil {
		t.Fatal(err)
	}
	if got := query(t, replica, "app", "SELECT id FROM d.t"); got != "1" {
		t.Errorf("the replica has %s", got)
	}
	db := open(t, source, "app")
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := source.host.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(short, "INSERT INTO d.t VALUES (2)"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a statement over a link that is down: %v, not silence", err)
	}
	mustExec(t, source, "INSERT INTO d.t VALUES (3)") // over the socket: the server itself is well
	if err := source.host.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	killAndStart(t, source)
	if got := query(t, source, "app", "SELECT GROUP_CONCAT(id) FROM d.t WHERE id <> 2"); got != "1,3" {
		t.Errorf("after the kill there is %s", got)
	}
	lone := startMySQL(t, MySQLOptions{})
	if err := Replicate(t.Context(), lone, replica); err == nil || !strings.Contains(err.Error(), "does not reach") {
		t.Errorf("replication from loopback to a host: %v", err)
	}
}

// TestKafkaOnHost writes while the broker's link is down.
func TestKafkaOnHost(t *testing.T) {
	needsTime(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n := newNet(t)
	k, err := StartKafka(ctx, KafkaOptions{HeapMB: 256, Host: newHost(t, n, "kafka"), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, k)
	client := kafkaClient(t, k, kgo.DefaultProduceTopic("t"))
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, kgo.StringRecord("before")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := k.host.Down(ctx); err != nil {
		t.Fatal(err)
	}
	produced := make(chan error, 1)
	client.Produce(ctx, kgo.StringRecord("during"), func(_ *kgo.Record, err error) { produced <- err })
	select {
	case err := <-produced:
		t.Errorf("a record went over a link that is down: %v", err)
	case <-time.After(time.Second):
	}
	if err := k.host.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-produced; err != nil {
		t.Fatal(err)
	}
	if got := readAll(ctx, t, k, "t", 2); got != "before during" {
		t.Errorf("the topic holds %q", got)
	}
}

// readAll reads so many values of partition 0.
func readAll(ctx context.Context, t *testing.T, k *Kafka, topic string, count int) string {
	t.Helper()
	reader := kafkaClient(t, k, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var values []string
	for len(values) < count {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, record := range fetches.Records() {
			values = append(values, string(record.Value))
		}
	}
	return strings.Join(values, " ")
}
