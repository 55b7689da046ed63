package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// s3 keeps files in a bucket. It asks for no more of S3 than GET, PUT with If-Match and If-None-Match, DELETE and ListObjectsV2.
type s3 struct {
	base    url.URL // of the bucket
	bucket  string
	prefix  string // with a slash at its end, or empty
	spool   string
	timeout time.Duration
	signer  signer
	client  *http.Client
}

func newS3(c *Config) (*s3, error) {
	secret, err := c.S3.secret()
	if err != nil {
		return nil, err
	}
	bucket, prefix := c.bucket()
	s := &s3{bucket: bucket, prefix: prefix, spool: c.Spool, timeout: c.Timeout,
		signer: signer{c.S3.AccessKey, secret, string(c.S3.SessionToken), c.S3.Region}}
	if prefix != "" {
		s.prefix += "/"
	}
	s.base = url.URL{Scheme: "https", Host: bucket + ".s3." + c.S3.Region + ".amazonaws.com", Path: "/"}
	if c.S3.Endpoint != "" {
		u, err := url.Parse(c.S3.Endpoint)
		if err != nil {
			return nil, &change.Problem{Kind: change.Configuration, What: "files.s3.endpoint is no address", Err: err}
		}
		s.base = url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + bucket + "/"}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	if c.S3.TLSCA != "" {
		if transport.TLSClientConfig, err = authorities(c.S3.TLSCA); err != nil {
			return nil, err
		}
	}
	s.client = &http.Client{Transport: transport}
	return s, nil
}

func authorities(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = errors.New("it holds no certificate")
	}
	if err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "files.s3.tls_ca cannot be used", Where: file, Err: err, Mend: "name a PEM file"}
	}
	return &tls.Config{RootCAs: pool}, nil
}

func (s *s3) String() string { return s3Scheme + s.bucket + "/" + s.prefix }

func (s *s3) scratch() (*os.File, error) {
	f, err := os.CreateTemp(s.spool, "sluice-files-*.part")
	if err != nil {
		return nil, &change.Problem{Kind: change.Retry, What: "a file cannot be made before it goes to S3", Err: err, Mend: "look at the folder files.spool"}
	}
	return f, nil
}

// request is one request to the bucket.
type request struct {
	method string
	key    string
	query  url.Values
	header map[string]string
	body   io.ReadSeeker
	length int64
	sum    string // of the body, in hexadecimal digits
}

// do sends a request and returns the answer, whose body the caller closes. What is not 2xx is an error.
func (s *s3) do(ctx context.Context, q request) (*http.Response, error) {
	u := s.base
	u.Path += q.key
	u.RawPath = escapePath(u.Path) // as it is signed
	u.RawQuery = strings.ReplaceAll(q.query.Encode(), "+", "%20")
	var body io.Reader
	if q.body != nil {
		body = io.NopCloser(q.body) // the caller closes it
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = q.length
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	if q.sum == "" {
		q.sum = hexSum(nil)
	}
	s.signer.sign(r, q.sum, time.Now())
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, &change.Problem{Kind: change.Retry, What: "the storage does not answer", Where: s.String(), Err: err}
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, s.refused(q, answer)
}

// refused makes an error of an answer.
func (s *s3) refused(q request, answer *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	var said struct{ Code, Message string }
	xml.Unmarshal(text, &said) // where it is not XML, the status says enough
	what := fmt.Sprintf("%s of %s was answered with %s", q.method, q.key, strings.TrimSpace(answer.Status+" "+said.Code+" "+said.Message))
	switch code := answer.StatusCode; {
	case code == 404 && said.Code != "NoSuchBucket":
		return errNotThere
	case code == 412 || code == 409:
		return errChanged // 409 is a race of two conditional puts, or of one with a delete
	case code == 408 || code == 429 || code >= 500 && code != 501 || said.Code == "RequestTimeTooSkewed":
		return &change.Problem{Kind: change.Retry, What: what, Where: s.String()}
	case code == 501:
		return &change.Problem{Kind: change.Configuration, What: what, Where: s.String(), Why: "the storage must know If-Match and If-None-Match of PUT: they keep two owners apart",
			Mend: "use storage that does (Amazon S3, MinIO, Cloudflare R2, Ceph), or a local disk"}
	}
	return &change.Problem{Kind: change.Configuration, What: what, Where: s.String(),
		Mend: "look at files.path, files.s3.access_key and its secret, region and endpoint; the key must be allowed s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket"}
}

// send does a request whose answer has no body that matters, and returns its ETag.
func (s *s3) send(ctx context.Context, q request) (tag string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.do(ctx, q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20)) // so that the connection is used again
	return answer.Header.Get("ETag"), err
}

func (s *s3) put(ctx context.Context, key string, f *os.File) error {
	defer discard(f)
	h := sha256.New()
	_, err := f.Seek(0, io.SeekStart)
	if err != nil {
		return err
	}
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = s.send(ctx, request{method: "PUT", key: s.prefix + key, body: f, length: n, sum: hex.EncodeToString(h.Sum(nil))})
	if errors.Is(err, errChanged) || errors.Is(err, errNotThere) {
		err = &change.Problem{Kind: change.Retry, What: "the storage refused a PUT: " + err.Error(), Where: s.String()}
	}
	return err
}

func (s *s3) swap(ctx context.Context, key string, data []byte, tag string) (string, error) {
	header := map[string]string{"If-Match": tag}
	if tag == "" {
		header = map[string]string{"If-None-Match": "*"}
	}
	newTag, err := s.send(ctx, request{method: "PUT", key: s.prefix + key, body: bytes.NewReader(data), length: int64(len(data)), sum: hexSum(data), header: header})
	if errors.Is(err, errNotThere) && tag != "" {
		return "", errChanged // somebody has removed it
	}
	if err == nil && newTag == "" {
		return "", &change.Problem{Kind: change.Configuration, What: "the storage answers a PUT without an ETag", Where: s.String(), Why: "two owners could not be kept apart"}
	}
	return newTag, err
}

func (s *s3) get(ctx context.Context, key string) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.do(ctx, request{method: "GET", key: s.prefix + key})
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, "", s.cutOff(err)
	}
	return data, answer.Header.Get("ETag"), nil
}

func (s *s3) cutOff(err error) error {
	return &change.Problem{Kind: change.Retry, What: "an answer of the storage was cut off", Where: s.String(), Err: err}
}

// spooled is an object that was fetched to a file.
type spooled struct{ localFile }

// Close removes the file.
func (f spooled) Close() error {
	discard(f.File)
	return nil
}

// open fetches the object to the spool: a reader of Parquet jumps to and fro.
func (s *s3) open(ctx context.Context, key string) (object, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.do(ctx, request{method: "GET", key: s.prefix + key})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	f, err := s.scratch()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, answer.Body)
	if err != nil {
		discard(f)
		return nil, s.cutOff(err)
	}
	return spooled{localFile{f, n}}, nil
}

// listed is the answer of ListObjectsV2.
type listed struct {
	Contents []struct {
		Key  string
		Size int64
	}
	IsTruncated           bool
	NextContinuationToken string
}

func (s *s3) list(ctx context.Context, folder string) ([]entry, error) {
	var found []entry
	query := url.Values{"list-type": {"2"}, "prefix": {s.prefix + folder}}
	for {
		page, err := s.page(ctx, query)
		if err != nil {
			return nil, err
		}
		for _, c := range page.Contents {
			found = append(found, entry{strings.TrimPrefix(c.Key, s.prefix), c.Size})
		}
		if !page.IsTruncated {
			return found, nil
		}
		query.Set("continuation-token", page.NextContinuationToken)
	}
}

func (s *s3) page(ctx context.Context, query url.Values) (page listed, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.do(ctx, request{method: "GET", query: query})
	if err != nil {
		return page, err
	}
	defer answer.Body.Close()
	if err := xml.NewDecoder(answer.Body).Decode(&page); err != nil {
		return page, s.cutOff(err)
	}
	return page, nil
}

func (s *s3) remove(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if _, err := s.send(ctx, request{method: "DELETE", key: s.prefix + key}); err != nil && !errors.Is(err, errNotThere) {
			return err
		}
	}
	return nil
}
