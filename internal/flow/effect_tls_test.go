package flow

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/state"
)

// ownPair is a certificate that has signed itself, with its key, both in PEM.
func ownPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "flows"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// A call is secured as its metadata says: by an authority of its own, and with a
// certificate and key of a secret, which are kept nowhere.
func TestCallTLS(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	cert, key := ownPair(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(cert))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, "application/json", `{"you":"`+r.TLS.PeerCertificates[0].Subject.CommonName+`"}`)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	body, err := json.Marshal(map[string]string{"ca": ca, "cert": cert, "key": key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.CreateSecret(t.Context(), state.System(), "pair", body); err != nil {
		t.Fatal(err)
	}
	call := func(options string) Run {
		t.Helper()
		document := strings.Replace(named("secured", `
- it:
    call: http
    with: {method: get, endpoint: "`+server.URL+`"}
    metadata: {tocsin: {tls: `+options+`}}
`), "do:\n", "use: {secrets: [pair]}\ndo:\n", 1)
		r, err := k.StartRun(t.Context(), state.System(), k.flow(document), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		return k.ends(r.ID, Completed, Faulted)
	}
	if r := call(`{ca: "${ $secrets.pair.ca }", certificate: "${ $secrets.pair.cert }", key: "${ $secrets.pair.key }", server_name: example.com}`); string(r.Output) != `{"you":"flows"}` {
		t.Errorf("%s %s", r.Output, r.Error)
	}
	for options, want := range map[string]string{
		`{ca: "${ $secrets.pair.ca }", server_name: example.com}`: "certificate required", `{server_name: example.com}`: "certificate", `{ca: nonsense}`: "tls.ca holds no certificate",
		`{ca: "${ $secrets.pair.ca }", certificate: x, key: y}`: "no pair in PEM form", `{ca: "${ $secrets.pair.ca }", server_name: other.example}`: "other.example",
	} {
		r := call(options)
		kept, err := json.Marshal(r.Steps)
		if err != nil {
			t.Fatal(err)
		}
		if r.State != Faulted || !strings.Contains(r.Error, want) || strings.Contains(string(kept)+r.Error, "BEGIN") {
			t.Errorf("%s: %s %s", options, r.State, r.Error)
		}
	}
}
