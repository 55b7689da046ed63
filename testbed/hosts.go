package testbed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Everything of a net carries its number: the namespaces sluice-NUMBER-NAME,
// the machine's own interface sluiceNUMBER and the addresses 10.213.NUMBER.0/24.
const (
	netsMax = 256
	// hostsMax leaves out the network's own address, the machine's and the
	// broadcast address.
	hostsMax = 253
	// netReservations is one folder for all processes of the machine, whatever
	// their temp folders: so are the names that the kernel gives to networks.
	netReservations = "/run/sluice-nets"
	netNamespaces   = "/run/netns"
	netSwitch       = "switch"
	// netEndTimeout bounds the removal of a net.
	netEndTimeout = 30 * time.Second
)

var hostName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Net is a network on this machine: hosts that hang on one switch, and the
// machine itself on that switch too. The switch lies in a namespace of its own,
// so that neither a firewall nor another network of the machine has a say.
type Net struct {
	// IP is the machine's own address on it: what listens there is reached by
	// the hosts, what listens on 127.0.0.1 is not.
	IP string

	number int
	owner  *os.File
	log    Log

	mu sync.Mutex // guards the following
	// names are those of the hosts, each at the place of its number.
	names  []string
	closed bool
}

// Host is a network namespace with one interface, whose cable can be pulled.
// Servers are started in it by the Host of their options.
type Host struct {
	Name string
	// IP is its address, reached from this machine and from the Net's others.
	IP string

	net  *Net
	port string // the switch's end of its cable
}

// NewNet makes a network without hosts. It needs root, and Linux with the
// commands ip and nsenter: the error wraps [errors.ErrUnsupported] where these
// are missing. Nets of killed processes are removed. The caller must Close it.
func NewNet(ctx context.Context, log Log) (*Net, error) {
	if err := netsPossible(); err != nil {
		unmet("network-namespaces", err)
		return nil, err
	}
	if err := os.MkdirAll(netReservations, 0o755); err != nil {
		return nil, fmt.Errorf("make a network: %w", err)
	}
	removeOrphanNets(ctx)
	n, err := reserveNet(ctx)
	if err != nil {
		return nil, err
	}
	n.log = log
	if err := n.plug(ctx); err != nil {
		err = refused(fmt.Errorf("make the network %s: %w", n.addresses(), err))
		unmet("network-namespaces", err)
		return nil, errors.Join(err, n.Close())
	}
	met("network-namespaces", runtime.GOOS)
	return n, nil
}

func netsPossible() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("network namespaces are Linux's, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	for tool, debian := range map[string]string{"ip": "iproute2", "nsenter": "util-linux"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("a network of a test's own needs the command %s (%w): apt-get install %s brings it: %w",
				tool, err, debian, errors.ErrUnsupported)
		}
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("a network of a test's own needs root; run the test as root (sudo): %w", errors.ErrUnsupported)
	}
	return nil
}

// reserveNet takes a number that no other process has, and whose addresses are
// nobody's on this machine.
func reserveNet(ctx context.Context) (*Net, error) {
	routes, err := output(ctx, "ip", "-4", "route", "show", "table", "all")
	if err != nil {
		return nil, err
	}
	start := rand.IntN(netsMax)
	for i := range netsMax {
		number := (start + i) % netsMax
		owner, ok := reserve(netReservations, fmt.Sprint(number))
		if !ok {
			continue
		}
		known := func(word string) bool { return strings.HasPrefix(word, fmt.Sprintf("10.213.%d.", number)) }
		if slices.ContainsFunc(strings.Fields(routes), known) {
			owner.Close()
			continue
		}
		return &Net{number: number, owner: owner, IP: fmt.Sprintf("10.213.%d.1", number)}, nil
	}
	return nil, fmt.Errorf("all networks 10.213.0.0/24 to 10.213.255.0/24 are taken on this machine; see ip route and %s", netReservations)
}

// plug makes the switch and the machine's own cable to it.
func (n *Net) plug(ctx context.Context) error {
	in := n.namespace(netSwitch)
	return n.run(ctx,
		"netns add "+in,
		"-n "+in+" link add switch type bridge",
		"-n "+in+" link set switch up",
		fmt.Sprintf("link add %s type veth peer name machine netns %s", n.device(), in),
		"-n "+in+" link set machine master switch up",
		fmt.Sprintf("addr add %s/24 dev %s", n.IP, n.device()),
		fmt.Sprintf("link set %s up", n.device()))
}

// Host makes a host of that name (letters, digits, hyphens) on the network. It
// lives until the Net is closed.
func (n *Net) Host(ctx context.Context, name string) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, fmt.Errorf("make the host %s: its network is closed", name)
	case !hostName.MatchString(name) || name == netSwitch:
		return nil, fmt.Errorf("%q can not be a host's name: up to 32 of a-z, 0-9 and -, and not %s", name, netSwitch)
	case slices.Contains(n.names, name):
		return nil, fmt.Errorf("the network %s has a host %s already", n.addresses(), name)
	case len(n.names) == hostsMax:
		return nil, fmt.Errorf("make the host %s: the network %s is full", name, n.addresses())
	}
	n.names = append(n.names, name) // also when the rest fails: Close removes what is there
	number := len(n.names)
	h := &Host{Name: name, IP: fmt.Sprintf("10.213.%d.%d", n.number, number+1), net: n, port: fmt.Sprintf("port%d", number)}
	in, on := n.namespace(name), n.namespace(netSwitch)
	err := n.run(ctx,
		"netns add "+in,
		"-n "+in+" link set lo up",
		fmt.Sprintf("-n %s link add eth0 type veth peer name %s netns %s", in, h.port, on),
		fmt.Sprintf("-n %s link set %s master switch up", on, h.port),
		fmt.Sprintf("-n %s addr add %s/24 dev eth0", in, h.IP),
		"-n "+in+" link set eth0 up")
	if err != nil {
		return nil, fmt.Errorf("make the host %s: %w", name, err)
	}
	n.log.printf("host %s is %s", name, h.IP)
	return h, nil
}

// Down pulls the host's cable out of the switch. Nothing resets its
// connections: both sides wait, and send again, until their own time-outs. A
// connection that somebody tries to open now ends after some seconds without a
// route, as to any neighbour that is switched off.
func (h *Host) Down(ctx context.Context) error { return h.set(ctx, "down") }

// Up puts the cable back. Connections that are still waiting go on when TCP
// sends again, which after a long time can take as long once more.
func (h *Host) Up(ctx context.Context) error { return h.set(ctx, "up") }

func (h *Host) set(ctx context.Context, state string) error {
	err := h.net.run(ctx, fmt.Sprintf("-n %s link set %s %s", h.net.namespace(netSwitch), h.port, state))
	if err != nil {
		return fmt.Errorf("set the link of host %s %s: %w", h.Name, state, err)
	}
	return nil
}

// inside is the command, run on the host. nsenter enters the namespace and then
// becomes the command: the same process, so its pid and its death with the
// starter are as they were, and no thread of this process is ever elsewhere.
func (h *Host) inside(cmd *exec.Cmd) *exec.Cmd {
	namespace := "--net=" + filepath.Join(netNamespaces, h.net.namespace(h.Name))
	entered := exec.Command("nsenter", append([]string{namespace, "--", cmd.Path}, cmd.Args[1:]...)...)
	entered.Env = cmd.Env
	return entered
}

// Close removes the network and its hosts, whose servers must have ended: what
// runs on there has no network any more. It may be called more than once.
func (n *Net) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), netEndTimeout)
	defer cancel()
	if err := removeNet(ctx, n.number); err != nil {
		return fmt.Errorf("remove the network %s: %w", n.addresses(), err)
	}
	n.closed = true
	return n.owner.Close()
}

// removeNet removes what there is of a net whose reservation the caller holds.
// The interface goes first and takes the other end of its cable with it; the
// ones in a namespace go with it.
func removeNet(ctx context.Context, number int) error {
	n := &Net{number: number}
	var failures []error
	if _, err := net.InterfaceByName(n.device()); err == nil {
		failures = append(failures, n.run(ctx, "link del "+n.device()))
	}
	found, err := filepath.Glob(filepath.Join(netNamespaces, n.namespace("*")))
	failures = append(failures, err)
	for _, path := range found {
		failures = append(failures, n.run(ctx, "netns del "+filepath.Base(path)))
	}
	return errors.Join(failures...)
}

// removeOrphanNets removes the nets of processes that were killed before they
// could close them. The servers on their hosts died with them. What can not be
// removed is left: its number stays in use for reserveNet.
func removeOrphanNets(ctx context.Context) {
	for number := range netsMax {
		n := &Net{number: number}
		_, err := net.InterfaceByName(n.device())
		found, _ := filepath.Glob(filepath.Join(netNamespaces, n.namespace("*"))) // the pattern is well formed
		if err != nil && len(found) == 0 {
			continue
		}
		if owner, ok := reserve(netReservations, fmt.Sprint(number)); ok {
			_ = removeNet(ctx, number)
			owner.Close()
		}
	}
}

func (n *Net) namespace(name string) string { return fmt.Sprintf("sluice-%d-%s", n.number, name) }
func (n *Net) device() string               { return fmt.Sprintf("sluice%d", n.number) }
func (n *Net) addresses() string            { return fmt.Sprintf("10.213.%d.0/24", n.number) }

// run runs commands of ip one after the other up to the first that fails.
func (n *Net) run(ctx context.Context, commands ...string) error {
	for _, command := range commands {
		if _, err := output(ctx, "ip", strings.Fields(command)...); err != nil {
			return err
		}
	}
	return nil
}

// refused marks the error of a command to which root was not enough, as in most
// containers, or for which the kernel has no module.
func refused(err error) error {
	for _, words := range []string{"not permitted", "ermission denied", "Unknown device type", "not supported"} {
		if strings.Contains(err.Error(), words) {
			return fmt.Errorf("%w; a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN for it (docker run --privileged): %w", err, errors.ErrUnsupported)
		}
	}
	return err
}

// output runs a command of the machine's own to its end.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C") // refused reads it
	printed, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(printed, 5))
	}
	return string(printed), nil
}
