package chaos

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/testbed"
)

// What a session waits for at most. A statement waits three seconds for a lock; what takes longer is a fault's doing.
const (
	dialTimeout    = 3 * time.Second
	answerTimeout  = 15 * time.Second
	redialPause    = 300 * time.Millisecond
	readOnlyPause  = 2 * time.Second // a failover is going on, which dials would only hold up
	speedUpMax     = 1.5
	governInterval = time.Second
)

// calmRate is the rate, in rows a second, while verify runs under fire. A machine that is full to the brim would fall behind with each
// fault and never come near, and verify looks at every row that is on its way until it has arrived.
const calmRate = 1000

// sessions are the connections that write, each with a goroutine of its own, from run until its context ends.
type sessions struct {
	settings Settings
	primary  func() *testbed.MySQL

	changes   atomic.Int64 // rows changed and committed, as the server's answers say: for pace and progress lines only
	conflicts atomic.Int64
	redials   atomic.Int64
	unknown   atomic.Int64  // commits whose answer never came
	pace      atomic.Uint64 // float64: how much faster than the rate the sessions go, to make up for faults
	calm      atomic.Bool   // they go at calmRate at most

	mu sync.RWMutex // held shared during each transaction, exclusively while sessions must be idle
}

func newSessions(s Settings, primary func() *testbed.MySQL) *sessions {
	w := &sessions{settings: s, primary: primary}
	w.pace.Store(math.Float64bits(1))
	return w
}

// run writes until ctx ends or an error that belongs to no fault and no conflict.
func (w *sessions) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { w.govern(ctx) })
	for i := range w.settings.Sessions {
		s := &session{sessions: w, random: rand.New(rand.NewPCG(w.settings.Seed, uint64(i)))}
		s.play = newPlay(w.settings, s.random)
		wg.Go(func() {
			if err := s.run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("session %d: %w", i, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// govern makes the sessions faster when they are behind the rate over the whole run.
func (w *sessions) govern(ctx context.Context) {
	began := time.Now()
	for tick := time.NewTicker(governInterval); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		due := float64(w.settings.Rate) * time.Since(began).Seconds()
		behind := due - float64(w.changes.Load())
		pace := min(speedUpMax, max(0.5, 1+behind/float64(w.settings.Rate)/20)) // twenty seconds behind: twice as fast
		if w.calm.Load() {
			pace = min(pace, calmRate/float64(w.settings.Rate))
		}
		w.pace.Store(math.Float64bits(pace))
	}
}

// hold keeps the sessions from beginning transactions, waits until those at work have ended, and returns what lets them go on.
func (w *sessions) hold() (release func()) {
	w.mu.Lock()
	return w.mu.Unlock
}

// session is one connection.
type session struct {
	*sessions
	random *rand.Rand
	play   *play
	conn   driver.Conn
}

func (s *session) run(ctx context.Context) error {
	defer s.drop()
	if !s.sleep(ctx, time.Duration(s.random.Int64N(int64(2*time.Second)))) { // not all at once
		return nil
	}
	for ctx.Err() == nil {
		if s.conn == nil {
			if err := s.dial(); err != nil {
				if !s.sleep(ctx, redialPause) {
					return nil
				}
				continue
			}
		}
		s.mu.RLock()
		n, err := s.transaction()
		s.mu.RUnlock()
		switch {
		case err == nil:
		case conflict(err):
			s.conflicts.Add(1)
			n++ // it cost as much as a change
		case lost(err):
			s.redials.Add(1)
			s.drop()
			wait := redialPause
			if readOnly(err) {
				wait = readOnlyPause
			}
			if !s.sleep(ctx, wait/2+time.Duration(s.random.Int64N(int64(wait)))) {
				return nil
			}
			continue
		default:
			return err
		}
		pause := float64(n) * float64(s.settings.Sessions) / float64(s.settings.Rate) / math.Float64frombits(s.pace.Load())
		if !s.sleep(ctx, time.Duration(pause*(0.5+s.random.Float64())*float64(time.Second))) {
			return nil
		}
	}
	return nil
}

func (s *session) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (s *session) drop() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// dial connects to whichever server is the primary now.
func (s *session) dial() error {
	config := s.primary().Config("app")
	config.DBName, config.Timeout, config.ReadTimeout, config.WriteTimeout = database, dialTimeout, answerTimeout, answerTimeout
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*dialTimeout)
	defer cancel()
	conn, err := connector.Connect(ctx)
	if err != nil {
		return err
	}
	s.conn = conn
	level := "READ COMMITTED"
	if s.random.IntN(8) == 0 {
		level = "REPEATABLE READ"
	}
	for _, q := range []string{"SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'", "SET SESSION TRANSACTION ISOLATION LEVEL " + level} {
		if _, err := s.exec(q); err != nil {
			s.drop()
			return err
		}
	}
	return nil
}

func (s *session) exec(q string) (int64, error) {
	result, err := s.conn.(driver.ExecerContext).ExecContext(context.Background(), q, nil) // bounded by the connection's time-outs
	if err != nil {
		return 0, fmt.Errorf("%.200s: %w", q, err)
	}
	n, err := result.RowsAffected()
	return max(n, 0), err
}

// transaction runs one of the play's transactions, with what is random in its form: autocommit, rollback, savepoints.
func (s *session) transaction() (int64, error) {
	t := s.play.next()
	if len(t.statements) == 1 && !t.whole && s.random.IntN(2) == 0 {
		n, err := s.exec(t.statements[0])
		s.changes.Add(n)
		return n, err
	}
	n, err := s.inTransaction(t)
	if err != nil && !lost(err) {
		if _, e := s.exec("ROLLBACK"); e != nil {
			return n, e
		}
	}
	return n, err
}

func (s *session) inTransaction(t transaction) (int64, error) {
	if _, err := s.exec("BEGIN"); err != nil {
		return 0, err
	}
	var done int64
	for i, q := range t.statements {
		// Now and then something is done and undone in between.
		if s.random.IntN(12) == 0 {
			if err := s.undone(); err != nil {
				return done, err
			}
		}
		n, err := s.exec(q)
		if err != nil && !t.whole && i+1 < len(t.statements) && statementOnly(err) {
			s.conflicts.Add(1)
			continue // the statement was undone, the transaction goes on
		}
		if err != nil {
			return done, err
		}
		if done += n; t.each && n != 1 {
			_, err := s.exec("ROLLBACK")
			return 0, err
		}
	}
	if s.random.IntN(20) == 0 {
		_, err := s.exec("ROLLBACK")
		return done, err
	}
	if _, err := s.exec("COMMIT"); err != nil {
		if lost(err) {
			s.unknown.Add(1)
		}
		return done, err
	}
	s.changes.Add(done)
	return done, nil
}

// undone does something between a savepoint and the way back to it.
func (s *session) undone() error {
	if _, err := s.exec("SAVEPOINT here"); err != nil {
		return err
	}
	if _, err := s.exec(s.play.single()); err != nil && !statementOnly(err) {
		return err
	}
	_, err := s.exec("ROLLBACK TO here")
	return err
}

// The server's errors that belong to the play: sessions want the same rows, and rows refer to each other.
var conflicts = map[uint16]bool{
	1062: true, 1213: true, 1205: true, // duplicate, deadlock, lock wait
	1451: true, 1452: true, 1216: true, 1217: true, 1761: true, 1762: true, // foreign keys
}

// away are the server's errors that say that it cannot be written to now.
var away = map[uint16]bool{
	1040: true, 1053: true, 1077: true, 1129: true, 1158: true, 1159: true, 1160: true, 1161: true, 1184: true, 1152: true, // too many connections, shutdown, network
	1290: true, 1836: true, 1317: true, 3024: true, 4031: true, 1927: true, // read-only: another one is the primary; interrupted; closed
}

func number(err error) (uint16, bool) {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number, true
	}
	return 0, false
}

func conflict(err error) bool {
	n, ok := number(err)
	return ok && conflicts[n]
}

// statementOnly reports errors that undo the statement and leave the transaction open.
func statementOnly(err error) bool {
	return conflict(err) && mustNumber(err) != 1213 && mustNumber(err) != 1205
}

func mustNumber(err error) uint16 {
	n, _ := number(err)
	return n
}

// readOnly reports that the server is not, or not yet, the primary.
func readOnly(err error) bool { n := mustNumber(err); return n == 1290 || n == 1836 }

// lost reports that the connection is of no use any more.
func lost(err error) bool {
	n, ok := number(err)
	return err != nil && (!ok || away[n])
}
