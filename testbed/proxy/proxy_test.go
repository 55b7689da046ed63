package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/sluice-cdc/sluice/testbed/localbroker"
)

// server answers each line with "ok LINE" and counts the lines.
type server struct {
	net.Listener
	lines chan string
}

func startServer(t *testing.T) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener, make(chan string, 100)}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for scanner := bufio.NewScanner(conn); scanner.Scan(); {
					s.lines <- scanner.Text()
					fmt.Fprintf(conn, "ok %s\n", scanner.Text())
				}
			}()
		}
	}()
	return s
}

func start(t *testing.T, target string) *Proxy {
	t.Helper()
	p, err := Start(t.Context(), target, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a line and waits for the answer up to a time.
func ask(conn net.Conn, line string, wait time.Duration) (string, error) {
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(answer), err
}

const patience = 10 * time.Second

func wantAnswer(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	if answer, err := ask(conn, line, patience); answer != "ok "+line {
		t.Errorf("the answer to %s is %q, %v", line, answer, err)
	}
}

func TestPassAndCut(t *testing.T) {
	p := start(t, startServer(t).Addr().String())
	conn := dial(t, p)
	wantAnswer(t, conn, "one")
	if counts := p.Counts(); counts.ToServer != 4 || counts.ToClient != 7 || counts.Swallowed != 0 {
		t.Errorf("counts are %+v", counts)
	}
	p.Cut()
	if answer, err := ask(conn, "two", patience); err == nil || isTimeout(err) {
		t.Errorf("over a cut connection came %q, %v", answer, err)
	}
	if fresh, err := net.Dial("tcp", p.Address()); err == nil {
		if answer, err := ask(fresh, "three", patience); err == nil || isTimeout(err) {
			t.Errorf("over a connection made while cut came %q, %v", answer, err)
		}
		fresh.Close()
	}
	p.Restore()
	wantAnswer(t, dial(t, p), "four")
	conn = dial(t, p)
	wantAnswer(t, conn, "five")
	p.Break()
	if answer, err := ask(conn, "six", patience); err == nil || isTimeout(err) {
		t.Errorf("over a broken connection came %q, %v", answer, err)
	}
	wantAnswer(t, dial(t, p), "seven")
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

func TestDelay(t *testing.T) {
	p := start(t, startServer(t).Addr().String())
	conn := dial(t, p)
	const delay = 50 * time.Millisecond
	p.Delay(delay)
	began := time.Now()
	wantAnswer(t, conn, "slow")
	if took := time.Since(began); took < 2*delay {
		t.Errorf("with a delay of %s each way an answer took %s", delay, took)
	}
	p.Delay(time.Hour)
	fmt.Fprintln(conn, "never")
	time.Sleep(delay)
	began = time.Now()
	p.Close()
	if took := time.Since(began); took > patience {
		t.Errorf("Close took %s", took)
	}
}

func TestDropAnswers(t *testing.T) {
	s := startServer(t)
	p := start(t, s.Addr().String())
	conn := dial(t, p)
	wantAnswer(t, conn, "heard")
	<-s.lines
	p.DropAnswers()
	if answer, err := ask(conn, "lost", 100*time.Millisecond); !isTimeout(err) {
		t.Errorf("an answer that is dropped came as %q, %v", answer, err)
	}
	select {
	case line := <-s.lines:
		if line != "lost" {
			t.Errorf("the server heard %q", line)
		}
	case <-time.After(patience):
		t.Error("the server heard nothing")
	}
	if got := p.Counts().Swallowed; got != int64(len("ok lost\n")) {
		t.Errorf("%d bytes were swallowed", got)
	}
	p.Restore()
	if answer, err := ask(conn, "after", patience); err == nil || isTimeout(err) {
		t.Errorf("a connection that lost bytes lives on: %q, %v", answer, err)
	}
	wantAnswer(t, dial(t, p), "again")
}

// TestLostCommit loses EndTxn's answer after it took effect: the client is told
// of an error, and the transaction is committed all the same.
func TestLostCommit(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	inner, p := startBrokerBehindProxy(t)
	direct, err := kgo.NewClient(kgo.SeedBrokers(inner))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if _, err := kadm.NewClient(direct).CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	writer, err := kgo.NewClient(kgo.SeedBrokers(p.Address()), kgo.TransactionalID("w"), kgo.RequestTimeoutOverhead(time.Second),
		kgo.RetryTimeout(2*time.Second), kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", p.Address()) // the broker advertises its own address
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := writer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := writer.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	p.DropAnswers()
	commitCtx, cancelCommit := context.WithTimeout(ctx, 3*time.Second)
	defer cancelCommit()
	if err := writer.EndTransaction(commitCtx, kgo.TryCommit); err == nil {
		t.Error("EndTransaction succeeded without an answer")
	} else if errors.Is(err, kerr.InvalidTxnState) {
		t.Errorf("the commit was refused: %v", err)
	}
	ends, err := kadm.NewClient(direct).ListCommittedOffsets(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := ends.Lookup("t", 0); end.Offset < 1 {
		t.Errorf("the last stable offset is %d: the commit did not take effect", end.Offset)
	}
}

// startBrokerBehindProxy returns the broker's own address and the proxy.
func startBrokerBehindProxy(t *testing.T) (string, *Proxy) {
	t.Helper()
	broker, err := localbroker.Start(t.Context(), localbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	return broker.Address(), start(t, broker.Address())
}

func TestNoGoroutineIsLeft(t *testing.T) {
	s := startServer(t)
	before := goleak.IgnoreCurrent()
	p := start(t, s.Addr().String())
	conn := dial(t, p)
	wantAnswer(t, conn, "one")
	p.Close()
	p.Close()
	conn.Close()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
