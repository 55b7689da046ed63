package files

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// signer signs requests to S3 by Amazon's Signature Version 4.
type signer struct {
	accessKey, secretKey, token, region string
}

const (
	amzTime   = "20060102T150405Z"
	algorithm = "AWS4-HMAC-SHA256"
)

// sign adds the headers that say who asks. payload is the body's SHA-256 in hexadecimal digits.
func (s *signer) sign(r *http.Request, payload string, now time.Time) {
	at := now.UTC().Format(amzTime)
	r.Header.Set("X-Amz-Date", at)
	r.Header.Set("X-Amz-Content-Sha256", payload)
	if s.token != "" {
		r.Header.Set("X-Amz-Security-Token", s.token)
	}
	names, headers := signedHeaders(r)
	request := strings.Join([]string{r.Method, escapePath(r.URL.Path), canonicalQuery(r), headers, names, payload}, "\n")
	scope := at[:8] + "/" + s.region + "/s3/aws4_request"
	text := strings.Join([]string{algorithm, at, scope, hexSum([]byte(request))}, "\n")
	key := mac([]byte("AWS4"+s.secretKey), at[:8])
	for _, part := range []string{s.region, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	r.Header.Set("Authorization", algorithm+" Credential="+s.accessKey+"/"+scope+",SignedHeaders="+names+",Signature="+hex.EncodeToString(mac(key, text)))
}

// signedHeaders returns the names of all headers but those that others on the way may change, and the headers by name.
func signedHeaders(r *http.Request) (names, headers string) {
	values := map[string]string{"host": r.URL.Host}
	for name, list := range r.Header {
		if lower := strings.ToLower(name); lower != "user-agent" && lower != "authorization" {
			values[lower] = strings.TrimSpace(list[0])
		}
	}
	sorted := make([]string, 0, len(values))
	for name := range values {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		headers += name + ":" + values[name] + "\n"
	}
	return strings.Join(sorted, ";"), headers
}

// canonicalQuery sorts the parameters, each escaped by Amazon's rule.
func canonicalQuery(r *http.Request) string {
	var parts []string
	for name, list := range r.URL.Query() {
		for _, value := range list {
			parts = append(parts, escape(name, false)+"="+escape(value, false))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

func escapePath(path string) string {
	if path == "" {
		return "/"
	}
	return escape(path, true)
}

// escape writes every byte but letters, digits and -._~ as %XX; slashes stay where they part a path.
func escape(text string, path bool) string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(text)+8)
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 || c == '/' && path {
			b = append(b, c)
			continue
		}
		b = append(b, '%', digits[c>>4], digits[c&15])
	}
	return string(b)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
