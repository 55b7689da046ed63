package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/sluice-cdc/sluice/change"
)

// The values of Config.TLS.
const (
	TLSOff     = "off"
	TLSPrefer  = "prefer"
	TLSRequire = "require"
	TLSVerify  = "verify"
)

// TLSConfig returns how a connection is encrypted: nil for a plain one. With plainAllowed a server that has
// no TLS is spoken to in plain text.
//
//	off      plain; the password is still never sent in clear (caching_sha2_password encrypts it)
//	prefer   encrypted if the server can, as MySQL's own clients do; nobody is verified
//	require  encrypted; with tls_ca the certificate's chain is verified, not its name
//	verify   encrypted; chain and host name are verified
func (c Config) TLSConfig() (config *tls.Config, plainAllowed bool, err error) {
	mode := c.TLS
	if mode == "" {
		mode = TLSPrefer
	}
	if network, _ := c.Endpoint(); network == "unix" && mode == TLSPrefer {
		mode = TLSOff
	}
	if mode == TLSOff {
		return nil, false, nil
	}
	config = &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: cipherSuites()}
	if err := c.loadCertificates(config); err != nil {
		return nil, false, err
	}
	switch mode {
	case TLSPrefer:
		config.InsecureSkipVerify = true
		return config, true, nil
	case TLSRequire:
		config.InsecureSkipVerify = true
		if config.RootCAs != nil {
			config.VerifyConnection = verifyChain(config.RootCAs)
		}
		return config, false, nil
	case TLSVerify:
		_, address := c.Endpoint()
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, false, tlsProblem("tls: verify needs a host name in address", err)
		}
		config.ServerName = host
		return config, false, nil
	}
	return nil, false, tlsProblem(fmt.Sprintf("tls: %q is not one of off, prefer, require, verify", c.TLS), nil)
}

// cipherSuites are Go's own choice for TLS 1.2 and, for servers that have nothing better, AES with RSA key
// exchange: 8.0.15 and its like offer that or what Go has not (seen: "remote error: tls: handshake failure").
func cipherSuites() []uint16 {
	var ids []uint16
	for _, suite := range tls.CipherSuites() {
		ids = append(ids, suite.ID)
	}
	return append(ids, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_GCM_SHA256)
}

func (c Config) loadCertificates(config *tls.Config) error {
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return tlsProblem("tls_ca cannot be read", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return tlsProblem("tls_ca holds no certificate in PEM form", errors.New(c.TLSCA))
		}
	}
	if c.TLSCert == "" && c.TLSKey == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return tlsProblem("tls_cert and tls_key cannot be used", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

// verifyChain verifies that an authority signed the certificate, for whatever name.
func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server showed no certificate")
		}
		intermediates := x509.NewCertPool()
		for _, certificate := range state.PeerCertificates[1:] {
			intermediates.AddCert(certificate)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
}

func tlsProblem(what string, err error) error {
	return &change.Problem{
		Kind: change.Configuration, What: what, Err: err,
		Mend: "set tls to off, prefer, require or verify; tls_ca, tls_cert and tls_key name PEM files",
	}
}
