package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// startReader is a server that hands over all that one connection brings.
func startReader(t *testing.T) (address string, heard <-chan []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	all := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		content, err := io.ReadAll(conn)
		if err != nil {
			content = []byte(err.Error())
		}
		all <- content
	}()
	return listener.Addr().String(), all
}

// randomBytes are content in which a lost or moved piece shows.
func randomBytes(count int) []byte {
	content := make([]byte, count)
	dice := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(dice.Uint32())
	}
	return content
}

func TestHang(t *testing.T) {
	s := startServer(t)
	p := start(t, s.Addr().String())
	conn := dial(t, p)
	wantAnswer(t, conn, "one")
	<-s.lines
	p.Hang()
	p.Hang()
	if answer, err := ask(conn, "two", 100*time.Millisecond); !isTimeout(err) {
		t.Errorf("over a link that hangs came %q, %v", answer, err)
	}
	fresh := dial(t, p)
	if answer, err := ask(fresh, "three", 100*time.Millisecond); !isTimeout(err) {
		t.Errorf("over a connection made while the link hangs came %q, %v", answer, err)
	}
	select {
	case line := <-s.lines:
		t.Errorf("the server heard %q", line)
	default:
	}
	p.Restore()
	for _, test := range []struct {
		conn net.Conn
		want string
	}{{conn, "ok two\n"}, {fresh, "ok three\n"}} {
		if err := test.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(test.want))
		if _, err := io.ReadFull(test.conn, got); string(got) != test.want {
			t.Errorf("after the link came back came %q, %v; want %q", got, err, test.want)
		}
	}
	wantAnswer(t, conn, "four")
}

// TestHangHolds fills what a hanging link holds; it must neither lose a byte nor
// take more, and the end of the connection comes after the last of them.
func TestHangHolds(t *testing.T) {
	address, heard := startReader(t)
	p := start(t, address)
	conn := dial(t, p)
	p.Hang()
	// More than the proxy and the kernel's buffers on the way.
	content := randomBytes(chunksDelayedMax*chunkBytes + 64<<20)
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	sent, err := conn.Write(content)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a link that hangs took %d bytes: %v", sent, err)
	}
	conn.Close()
	select {
	case got := <-heard:
		t.Errorf("the server heard of the end over a link that hangs, after %d bytes", len(got))
	case <-time.After(100 * time.Millisecond):
	}
	p.Restore()
	select {
	case got := <-heard:
		if !bytes.Equal(got, content[:sent]) {
			t.Errorf("of %d bytes %d arrived, or others", sent, len(got))
		}
	case <-time.After(patience):
		t.Error("the link came back and nothing arrived")
	}
}

func TestCloseWhileHanging(t *testing.T) {
	p := start(t, startServer(t).Addr().String())
	conn := dial(t, p)
	wantAnswer(t, conn, "one")
	p.Hang()
	fmt.Fprintln(conn, "never")
	dial(t, p)
	began := time.Now()
	p.Close()
	if took := time.Since(began); took > patience {
		t.Errorf("Close took %s", took)
	}
}

func TestRetarget(t *testing.T) {
	first, second := startServer(t), startServer(t)
	p := start(t, first.Addr().String())
	conn := dial(t, p)
	wantAnswer(t, conn, "one")
	p.Retarget(second.Addr().String())
	if answer, err := ask(conn, "two", patience); err == nil || isTimeout(err) {
		t.Errorf("over a connection to the server before came %q, %v", answer, err)
	}
	wantAnswer(t, dial(t, p), "three")
	if got := <-second.lines; got != "three" {
		t.Errorf("the second server heard %q", got)
	}
	if got := <-first.lines; got != "one" || len(first.lines) > 0 {
		t.Errorf("the first server heard %q and %d lines more", got, len(first.lines))
	}
}

func TestLossyCarries(t *testing.T) {
	now := time.Now()
	const mega = 1_000_000
	for _, test := range []struct {
		name string
		link Link
		want time.Duration
		ok   bool
	}{
		{"good", Link{}, 0, true},
		{"slow", Link{BytesPerSecond: 2 * mega}, time.Second / 2, true},
		{"resets", Link{Reset: 1}, 0, false},
	} {
		l := &lossyLink{Link: test.link, dice: rand.New(rand.NewPCG(1, 0))}
		arrived, ok := l.carry(now, mega, true)
		if got := arrived.Sub(now); got != test.want || ok != test.ok {
			t.Errorf("%s: a megabyte takes %s, %t; want %s, %t", test.name, got, ok, test.want, test.ok)
		}
	}
	l := &lossyLink{Link: Link{Loss: 1}, dice: rand.New(rand.NewPCG(1, 0))}
	if arrived, _ := l.carry(now, 1, false); arrived.Sub(now) != 3*time.Second {
		t.Errorf("a packet that is always lost takes %s", arrived.Sub(now))
	}
	// Both directions have the whole bandwidth, and each shares it out.
	l = &lossyLink{Link: Link{BytesPerSecond: mega}, dice: rand.New(rand.NewPCG(1, 0))}
	l.carry(now, mega, false)
	up, _ := l.carry(now, mega, false)
	down, _ := l.carry(now, mega, true)
	if up.Sub(now) != 2*time.Second || down.Sub(now) != time.Second {
		t.Errorf("the second megabyte up takes %s, the first down %s", up.Sub(now), down.Sub(now))
	}
}

// TestLossyDice wants the share of stalls that was asked for, and the same ones
// from the same seed.
func TestLossyDice(t *testing.T) {
	now := time.Now()
	const packets = 10_000
	stalls := func(seed uint64) (list []int) {
		l := &lossyLink{Link: Link{Loss: 0.01}, dice: rand.New(rand.NewPCG(seed, 0))}
		for i := range packets {
			if arrived, _ := l.carry(now, 1, true); arrived.After(now) {
				list = append(list, i)
			}
		}
		return list
	}
	first, again, other := fmt.Sprint(stalls(1)), fmt.Sprint(stalls(1)), fmt.Sprint(stalls(2))
	if first != again || first == other {
		t.Error("a seed does not fix the dice, or all seeds are one")
	}
	if got := len(stalls(1)); got < packets/200 || got > packets/50 {
		t.Errorf("%d of %d packets were lost, not about one in a hundred", got, packets)
	}
}

// TestLossy sends bytes over a slow link with losses: late, and whole.
func TestLossy(t *testing.T) {
	address, heard := startReader(t)
	p := start(t, address)
	p.Lossy(1, Link{BytesPerSecond: 400_000, Loss: 0.005})
	conn := dial(t, p)
	content := randomBytes(200_000)
	began := time.Now()
	if _, err := conn.Write(content); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := <-heard; !bytes.Equal(got, content) {
		t.Errorf("of %d bytes %d arrived, or others", len(content), len(got))
	}
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("200 kB at 400 kB/s took %s", took)
	}
}

func TestLossyResets(t *testing.T) {
	p := start(t, startServer(t).Addr().String())
	conn := dial(t, p)
	wantAnswer(t, conn, "one")
	p.Lossy(1, Link{Reset: 1})
	if answer, err := ask(conn, "two", patience); err == nil || isTimeout(err) {
		t.Errorf("over a connection that was reset came %q, %v", answer, err)
	}
	p.Restore()
	wantAnswer(t, dial(t, p), "three")
}
