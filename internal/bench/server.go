package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/tocsin-events/tocsin/internal/app"
	"github.com/tocsin-events/tocsin/internal/config"
)

const adminPassword = "correct horse battery staple"

// server is a whole Tocsin on a loopback address: with a token, its types in
// the catalog, and geo databases.
type server struct {
	url, token string
	stop       func() error
}

// startServer starts one in a folder.
func startServer(ctx context.Context, dir string) (*server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := config.Default()
	c.Data, c.Listen, c.PublicURL = filepath.Join(dir, "data"), "127.0.0.1:0", "http://tocsin.example"
	c.Geo = config.Geo{City: filepath.Join(dir, "city.mmdb"), ASN: filepath.Join(dir, "asn.mmdb")}
	if err := errors.Join(writeCities(c.Geo.City), writeNetworks(c.Geo.ASN)); err != nil {
		return nil, fmt.Errorf("geo databases: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a, err := app.New(ctx, app.Options{Version: "bench", Config: c, AdminPassword: adminPassword, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		cancel(nil)
		return nil, err
	}
	ended, started := make(chan error, 1), make(chan struct{})
	go func() { ended <- a.Run(ctx, func() { close(started) }) }()
	s := &server{url: "http://" + a.Address(), stop: func() error {
		cancel(errors.New("the measurement has ended"))
		return <-ended
	}}
	select {
	case <-started:
	case err := <-ended:
		cancel(nil)
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// prepare signs in, makes a token as a sender has one, and adds the types.
func (s *server) prepare(ctx context.Context) error {
	var made struct{ Token string }
	if err := s.post(ctx, "/v1/auth/token", map[string]any{"username": "admin", "password": adminPassword}, &made); err != nil {
		return err
	}
	s.token = made.Token
	type field struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Required bool   `json:"required"`
	}
	fields := []field{
		{"message", "string", true},
		{"request_id", "string", true},
		{"path", "string", true},
		{"status", "integer", true},
		{"duration_ms", "integer", true},
		{"bytes", "integer", true},
		{"region", "string", true},
		{"release", "string", true},
		{"attempt", "integer", false},
		{"cached", "boolean", false},
		{"labels", "string[]", false},
	}
	for i := range Types {
		err := s.post(ctx, "/v1/catalog", map[string]any{
			"type": typeName(i), "severity": severityOf(i).String(), "description": "An event of the benchmark.", "fields": fields,
		}, nil)
		if err != nil {
			return err
		}
	}
	err := s.post(ctx, "/v1/tokens", map[string]any{"name": "sender", "scopes": []string{"emit", "read"}}, &made)
	s.token = made.Token
	return err
}

func (s *server) post(ctx context.Context, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return postJSON(ctx, s.url+path, s.token, text, answer)
}

// postJSON sends a body and reads the answer, where anybody wants it; token is
// empty where none is asked for.
func postJSON(ctx context.Context, url, token string, body []byte, answer any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	said, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	if got.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("POST %s: %s: %s", url, got.Status, said)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(said, answer)
}

// writeCities makes an MMDB of the shape that MaxMind's have, with a city for
// every /24 of the generator's addresses.
func writeCities(path string) error {
	return writeMMDB(path, "GeoLite2-City", func(i int) mmdbtype.Map {
		return mmdbtype.Map{
			"city":      mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(fmt.Sprintf("City %d", i%900))}},
			"continent": mmdbtype.Map{"code": mmdbtype.String("EU")},
			"country":   mmdbtype.Map{"iso_code": mmdbtype.String([]string{"DE", "FR", "PL", "IT", "ES"}[i%5])},
			"location":  mmdbtype.Map{"latitude": mmdbtype.Float64(40 + float64(i%1000)/100), "longitude": mmdbtype.Float64(float64(i%2000) / 100)},
		}
	})
}

func writeNetworks(path string) error {
	return writeMMDB(path, "GeoLite2-ASN", func(i int) mmdbtype.Map {
		return mmdbtype.Map{
			"autonomous_system_number":       mmdbtype.Uint32(64512 + i%500),
			"autonomous_system_organization": mmdbtype.String(fmt.Sprintf("Example Networks %d", i%500)),
		}
	})
}

func writeMMDB(path, kind string, row func(i int) mmdbtype.Map) (err error) {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, RecordSize: 28, IncludeReservedNetworks: true, BuildEpoch: time.Now().Unix()})
	if err != nil {
		return err
	}
	for i := range 512 {
		address := netip.AddrFrom4([4]byte{198, byte(18 + i>>8), byte(i), 0})
		network := &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(24, 32)}
		if err := tree.Insert(network, row(i)); err != nil {
			return err
		}
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = tree.WriteTo(f)
	return errors.Join(err, f.Close())
}
