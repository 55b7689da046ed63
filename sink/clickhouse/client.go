package clickhouse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// client speaks with the server's HTTP interface.
type client struct {
	http     *http.Client
	base     string
	database string
	user     string
	password string
	timeout  time.Duration
}

const (
	// connectionsMax bounds idle connections; each statement in flight uses one.
	connectionsMax = 64
	// idleTime is shorter than the server's own (3 s in old ones): what is sent into a connection that the server is closing fails.
	idleTime = 2 * time.Second
	// reasonMax bounds what is read of an error's answer, in bytes.
	reasonMax = 16 << 10
)

func newClient(c *Config) (*client, error) {
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConns: connectionsMax, MaxIdleConnsPerHost: connectionsMax, IdleConnTimeout: idleTime,
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: c.Timeout, DisableCompression: true}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, &change.Problem{Kind: change.Configuration, What: "clickhouse.tls_ca cannot be read", Err: err}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, &change.Problem{Kind: change.Configuration, What: "no certificate in " + c.TLSCA}
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &client{http: &http.Client{Transport: transport}, base: strings.TrimRight(c.URL, "/"), database: c.Database,
		user: c.User, password: password, timeout: c.Timeout}, nil
}

// serverError is an answer that is an exception of the server's.
type serverError struct {
	status int
	code   int // ClickHouse's; 0: it says none
	text   string
}

func (e *serverError) Error() string {
	if e.code == 0 {
		return fmt.Sprintf("HTTP %d: %s", e.status, e.text)
	}
	return e.text
}

// exceptionCode is how an exception begins, in all versions.
var exceptionCode = regexp.MustCompile(`Code: ([0-9]+)`)

func newServerError(status int, text []byte) *serverError {
	e := &serverError{status: status, text: strings.TrimSpace(string(text))}
	if m := exceptionCode.FindSubmatch(text); m != nil {
		e.code, _ = strconv.Atoi(string(m[1]))
	}
	if at := strings.Index(e.text, "Stack trace:"); at > 0 {
		e.text = strings.TrimSpace(e.text[:at])
	}
	return e
}

// codeOf returns ClickHouse's code of an error, 0 where there is none.
func codeOf(err error) int {
	var e *serverError
	if errors.As(err, &e) {
		return e.code
	}
	return 0
}

// The codes that are told from others. ErrorCodes.cpp has them all; they do not change.
const (
	codeColumnExists    = 15
	codeColumnExistsOld = 44
	codeUnknownTable    = 60
	codeUnknownDatabase = 81
	codeTooManyParts    = 252
)

// insert sends rows of that many bytes.
func (c *client) insert(ctx context.Context, statement string, settings map[string]string, rows io.Reader, size int64) error {
	values := url.Values{"query": {statement}, "database": {c.database}}
	for name, value := range settings {
		values.Set(name, value)
	}
	body, err := c.send(ctx, values, rows, size)
	if err != nil {
		return err
	}
	return body.Close()
}

// exec runs a statement that gives no rows, or whose rows are not wanted.
func (c *client) exec(ctx context.Context, statement string) error {
	_, err := c.text(ctx, statement)
	return err
}

// text runs a statement and returns its rows as the server prints them: TabSeparated where it names no format.
func (c *client) text(ctx context.Context, statement string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := c.send(ctx, url.Values{"wait_end_of_query": {"1"}}, strings.NewReader(statement), int64(len(statement)))
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}

// lines returns the rows of a statement, each as its fields.
func (c *client) lines(ctx context.Context, statement string) ([][]string, error) {
	text, err := c.text(ctx, statement)
	if err != nil || text == "" {
		return nil, err
	}
	var rows [][]string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		fields := strings.Split(line, "\t")
		for i := range fields {
			fields[i] = tabSeparated.Replace(fields[i])
		}
		rows = append(rows, fields)
	}
	return rows, nil
}

// tabSeparated undoes the escapes of the format TabSeparated, in one pass.
var tabSeparated = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", `\r`, "\r", `\b`, "\b", `\f`, "\f", `\0`, "\x00", `\'`, "'")

// stream runs a query and returns its rows as they come. The caller closes them.
func (c *client) stream(ctx context.Context, statement string, settings url.Values) (io.ReadCloser, error) {
	return c.send(ctx, settings, strings.NewReader(statement), int64(len(statement)))
}

func (c *client) send(ctx context.Context, values url.Values, body io.Reader, size int64) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/?"+values.Encode(), body)
	if err != nil {
		return nil, err
	}
	request.ContentLength = size
	request.SetBasicAuth(c.user, c.password)
	response, err := c.http.Do(request)
	if err != nil {
		var u *url.Error // says the whole address, statement and all
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, reasonMax))
		return nil, newServerError(response.StatusCode, text)
	}
	return response.Body, nil
}

// accountCodes say that the account is wrong, or may not do something; poisonCodes that the statement or its rows do not fit the table,
// which another try does not change. All others pass, or a person makes them pass.
var (
	accountCodes = map[int]bool{192: true, 193: true, 194: true, 195: true, 516: true, 164: true, 291: true, 497: true}
	poisonCodes  = map[int]bool{6: true, 15: true, 16: true, 20: true, 26: true, 27: true, 36: true, 38: true, 41: true, 43: true, 44: true, 46: true, 47: true,
		48: true, 50: true, 53: true, 57: true, 59: true, 60: true, 62: true, 69: true, 70: true, 72: true, 80: true, 81: true, 115: true, 117: true, 131: true,
		321: true, 344: true, 349: true, 359: true, 469: true, 524: true}
)

// judge makes an error of a statement into one whose kind says what happens next.
func (c *client) judge(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || change.SeverityOf(err) != change.Fatal {
		return err
	}
	p := &change.Problem{Kind: change.Retry, What: doing, Where: c.base, Err: err, Mend: "look at the server; it is tried again"}
	var answer *serverError
	if !errors.As(err, &answer) {
		return p
	}
	switch {
	case accountCodes[answer.code] || answer.code == 0 && (answer.status == http.StatusUnauthorized || answer.status == http.StatusForbidden):
		p.Kind, p.Mend = change.Configuration, "mend clickhouse.user and password, or give the account what it lacks: SELECT, INSERT, and with create_tables CREATE and ALTER, on "+c.database+".*"
	case answer.code == codeUnknownTable || answer.code == codeUnknownDatabase:
		p.Kind, p.Why = change.Poison, "the table, or a column of it, was taken away"
		p.Mend = "bring it back (a backup, ATTACH), or begin anew: sluice replay --to beginning --empty"
	case poisonCodes[answer.code]:
		p.Kind, p.Mend = change.Poison, "mend the table; the topic goes on by itself then"
	case answer.code == codeTooManyParts:
		p.Mend = "the server merges slower than parts come: raise clickhouse.insert_wait, lower hash_partitions, look at its disk; it is tried again"
	}
	return p
}
