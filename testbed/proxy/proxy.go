// Package proxy is a TCP proxy on loopback that breaks connections on purpose:
// it cuts them, hangs them, delays them, makes them slow and lossy, and swallows
// answers while requests still pass. And it moves: Retarget lets it stand for the
// virtual address of servers that fail over.
//
// Swallowed answers are the fault that tells exactly-once from nearly: a commit
// that took effect and whose answer never came.
//
// A proxy works on what TCP delivers: a lost packet is a pause here, and a
// connection to a server that hangs is made all the same. To take a machine off
// the network, which needs root, there is testbed.Host.
//
// Start starts one goroutine that accepts, and six at most for each connection. Close
// ends them all and waits for them.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// chunkBytes is how much is read at a time in each direction.
	chunkBytes = 32 << 10
	// chunksDelayedMax bounds what a delayed or hanging direction holds in
	// memory; then its sender waits, as on a full pipe.
	chunksDelayedMax = 256
	// dialTimeout bounds the connection to the server behind.
	dialTimeout = 10 * time.Second
)

// Proxy passes TCP connections on to one server.
type Proxy struct {
	// Port is the one that the proxy listens on, on 127.0.0.1.
	Port int

	listener net.Listener
	running  sync.WaitGroup
	// ending is closed by Close, so that it need not wait for a delay.
	ending chan struct{}

	mu sync.Mutex // guards the following
	// target is where new connections go.
	target string
	// hanging is there while the link hangs; its end closes it.
	hanging chan struct{}
	// lossy is there while the link is.
	lossy *lossyLink
	// open are the connections, client's and server's, that Cut closes.
	open map[net.Conn]struct{}
	// cut refuses new connections.
	cut bool
	// delay is added to every byte, in each direction.
	delay time.Duration
	// swallow drops what the server says.
	swallow bool
	// toServer and toClient count the bytes passed on, swallowed ones not.
	toServer, toClient int64
	// swallowed counts the bytes dropped.
	swallowed int64
	closed    bool
}

// Start starts a proxy to target, a host:port. Port 0 takes a free one. Its end
// is Close, not the end of the context, which bounds only the start.
func Start(ctx context.Context, target string, port int) (*Proxy, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("start a proxy to %s: %w", target, err)
	}
	p := &Proxy{
		Port:     listener.Addr().(*net.TCPAddr).Port,
		target:   target,
		listener: listener,
		ending:   make(chan struct{}),
		open:     map[net.Conn]struct{}{},
	}
	p.running.Go(p.accept)
	return p, nil
}

// Address is host:port of the proxy.
func (p *Proxy) Address() string { return fmt.Sprintf("127.0.0.1:%d", p.Port) }

// Cut resets all connections and refuses new ones until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.closeAll()
}

// Break resets all connections; new ones are welcome.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeAll()
}

// Delay adds d to every byte's way, in each direction, also in connections that
// are open; 0 ends that.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// DropAnswers swallows what the server says from now on, in open connections
// and in new ones, while what clients say still arrives. The bytes are lost: a
// connection that was in the middle of an answer can not go on after Restore,
// which therefore resets the connections open then.
func (p *Proxy) DropAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = true
}

// Hang lets nothing through in either direction until Restore, not even the end
// of a connection, as a link that is down. It is held, and arrives then: TCP
// sends again until it does. New connections are accepted, and wait too.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hanging == nil {
		p.hanging = make(chan struct{})
	}
}

// Retarget sends new connections to another server and resets those that are
// open, as a virtual address does that moves in a failover.
func (p *Proxy) Retarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	p.closeAll()
}

// Restore ends what Cut, Hang, Delay, Lossy and DropAnswers began.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hanging != nil {
		close(p.hanging)
		p.hanging = nil
	}
	p.lossy = nil
	if p.swallow {
		p.closeAll()
	}
	p.cut, p.swallow, p.delay = false, false, 0
}

// Counts are the bytes that went to the server and to clients, and those of the
// server's that were swallowed.
type Counts struct{ ToServer, ToClient, Swallowed int64 }

// Counts says how much has passed so far.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Counts{ToServer: p.toServer, ToClient: p.toClient, Swallowed: p.swallowed}
}

// Close resets all connections, ends the proxy and waits for its goroutines. It
// may be called more than once.
func (p *Proxy) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.ending)
	}
	p.closeAll()
	p.mu.Unlock()
	_ = p.listener.Close() // the second time it says that it was closed
	p.running.Wait()
}

// closeAll must be called with mu held. The connections are reset, not closed
// in order: a process that dies with unread data, or a firewall, does the same.
func (p *Proxy) closeAll() {
	for conn := range p.open {
		reset(conn)
		delete(p.open, conn)
	}
}

func reset(conns ...net.Conn) {
	for _, conn := range conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // only changes how the end looks
		}
		_ = conn.Close() // may be closed already
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(time.Millisecond) // out of file descriptors, for now
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve passes one connection on until either end closes it.
func (p *Proxy) serve(client net.Conn) {
	target, ok := p.keep(client)
	if !ok {
		return
	}
	defer p.forget(client)
	p.waitForLink()
	server, err := p.dial(target)
	if err != nil {
		return
	}
	if _, ok := p.keep(server); !ok {
		return
	}
	defer p.forget(server)
	var directions sync.WaitGroup
	directions.Go(func() { p.pass(server, client, false) })
	directions.Go(func() { p.pass(client, server, true) })
	directions.Wait()
}

// dial connects to the server behind, but does not outlive the proxy: a host that
// is down makes it wait.
func (p *Proxy) dial(target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	p.running.Go(func() {
		select {
		case <-p.ending:
			cancel()
		case <-ctx.Done():
		}
	})
	return new(net.Dialer).DialContext(ctx, "tcp", target)
}

// keep takes a connection into open, or resets it. The target is the one of that
// moment: of a connection that is open when it changes, Retarget makes an end.
func (p *Proxy) keep(conn net.Conn) (target string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[conn] = struct{}{}
	if p.cut || p.closed {
		p.closeAll()
		return "", false
	}
	return p.target, true
}

func (p *Proxy) forget(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
	_ = conn.Close() // may be closed already
}

// chunk is a piece of one direction with the time at which it is due.
type chunk struct {
	data []byte
	due  time.Time
}

// pass copies one direction. Reader and writer are two goroutines, so that a
// delay adds to the latency and does not divide the bandwidth.
func (p *Proxy) pass(to, from net.Conn, answers bool) {
	chunks := make(chan chunk, chunksDelayedMax)
	var writer sync.WaitGroup
	writer.Go(func() { p.write(to, from, chunks, answers) })
	for {
		data := make([]byte, chunkBytes)
		n, err := from.Read(data)
		if n > 0 {
			chunks <- chunk{data[:n], time.Now().Add(p.currentDelay())}
		}
		if err != nil {
			close(chunks)
			writer.Wait()
			p.waitForLink()
			p.endOf(to, err)
			return
		}
	}
}

// write passes chunks on when they are due. When it can not, it closes its
// source, so that the reader ends, and drains what the reader still brings.
func (p *Proxy) write(to, from net.Conn, chunks <-chan chunk, answers bool) {
	broken := false
	for c := range chunks {
		if broken {
			continue
		}
		p.waitUntil(c.due)
		for _, piece := range p.pieces(c.data) {
			if !p.cross(len(piece), answers) {
				reset(to, from)
				broken = true
				break
			}
			p.waitForLink()
			if p.swallows(len(piece), answers) {
				continue
			}
			if _, err := to.Write(piece); err != nil {
				broken = true
				_ = from.Close() // the reader hears of it
				break
			}
		}
	}
}

// waitForLink waits while the link hangs, but not past the proxy's end.
func (p *Proxy) waitForLink() {
	p.mu.Lock()
	hanging := p.hanging
	p.mu.Unlock()
	if hanging == nil {
		return
	}
	select {
	case <-hanging:
	case <-p.ending:
	}
}

// waitUntil sleeps, but not past the proxy's end.
func (p *Proxy) waitUntil(due time.Time) {
	wait := time.Until(due)
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ending:
	}
}

// endOf tells the other end that one direction is over: an orderly end closes
// that direction alone, anything else closes the connection.
func (p *Proxy) endOf(to net.Conn, err error) {
	if tcp, ok := to.(*net.TCPConn); ok && errors.Is(err, io.EOF) {
		_ = tcp.CloseWrite() // it may be closed as a whole by now
		return
	}
	_ = to.Close() // as above
}

func (p *Proxy) currentDelay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

// swallows decides over n bytes at the moment at which they are passed on.
func (p *Proxy) swallows(n int, answers bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case answers && p.swallow:
		p.swallowed += int64(n)
		return true
	case answers:
		p.toClient += int64(n)
	default:
		p.toServer += int64(n)
	}
	return false
}
