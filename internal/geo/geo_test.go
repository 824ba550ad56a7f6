package geo_test

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/geo"
)

// write makes a small MMDB file with one network.
func write(t *testing.T, path, network string, record mmdbtype.Map) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "test", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	_, ipnet, err := net.ParseCIDR(network)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Insert(ipnet, record); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := tree.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func city(name string) mmdbtype.Map {
	return mmdbtype.Map{
		"country": mmdbtype.Map{"iso_code": mmdbtype.String("DE")}, "continent": mmdbtype.Map{"code": mmdbtype.String("EU")},
		"city":     mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(name)}},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(52.52), "longitude": mmdbtype.Float64(13.405)},
	}
}

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	files := geo.Files{City: filepath.Join(dir, "city.mmdb"), Country: filepath.Join(dir, "country.mmdb"), ASN: filepath.Join(dir, "asn.mmdb")}
	write(t, files.City, "192.0.2.0/24", city("Berlin"))
	write(t, files.Country, "2001:db8::/32", mmdbtype.Map{"country_code": mmdbtype.String("FR")}) // the free files are flat
	write(t, files.ASN, "192.0.2.0/25", mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64500), "autonomous_system_organization": mmdbtype.String("Example Net")})
	g, err := geo.Open(files, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]geo.Place{
		"192.0.2.1":        {Country: "DE", Continent: "EU", City: "Berlin", Lat: "52.52", Lon: "13.405", ASN: "64500", ASOrg: "Example Net", ASNetwork: "192.0.2.0/25"},
		"::ffff:192.0.2.1": {Country: "DE", Continent: "EU", City: "Berlin", Lat: "52.52", Lon: "13.405", ASN: "64500", ASOrg: "Example Net", ASNetwork: "192.0.2.0/25"},
		"192.0.2.200":      {Country: "DE", Continent: "EU", City: "Berlin", Lat: "52.52", Lon: "13.405"},
		"2001:db8::1%eth0": {Country: "FR"},
		"198.51.100.1":     {},
		"nonsense":         {},
	}
	for range 2 { // the second time from memory
		for address, want := range tests {
			if got := g.Lookup(address); got != want {
				t.Errorf("Lookup(%s) = %+v, want %+v", address, got, want)
			}
		}
	}
	e := event.Event{ClientIP: "192.0.2.1"}
	if g.Enrich(&e); e.GeoCity != "Berlin" || e.ASN != "64500" {
		t.Errorf("Enrich = %+v", e)
	}
}

// A changed file is read anew; a broken one leaves the old at work.
func TestRefresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "city.mmdb")
	write(t, path, "192.0.2.0/24", city("Berlin"))
	var log bytes.Buffer
	g, err := geo.Open(geo.Files{City: path}, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	step := func(change func(), want string) {
		t.Helper()
		change()
		at = at.Add(time.Minute)
		if err := os.Chtimes(path, at, at); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		g.Refresh(t.Context())
		if got := g.Lookup("192.0.2.1").City; got != want {
			t.Errorf("city is %q, want %q", got, want)
		}
	}
	step(func() { write(t, path, "192.0.2.0/24", city("Bonn")) }, "Bonn")
	step(func() {
		if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}, "Bonn")
	step(func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}, "Bonn")
	step(func() { write(t, path, "192.0.2.0/24", city("Kiel")) }, "Kiel")
	if !strings.Contains(log.String(), "not reloaded") {
		t.Errorf("log: %s", log.String())
	}
}

func TestOpenErrors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.mmdb")
	if err := os.WriteFile(bad, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{bad, "/nowhere.mmdb"} {
		if _, err := geo.Open(geo.Files{ASN: path}, nil, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%s) = %v", path, err)
		}
	}
	g, err := geo.Open(geo.Files{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{ClientIP: "192.0.2.1"}
	if g.Enrich(&e); e.GeoCountry != "" {
		t.Errorf("without files: %+v", e)
	}
}

// Own networks have their label, the longest prefix wins, and nobody else is
// touched.
func TestOwnNetworks(t *testing.T) {
	g, err := geo.Open(geo.Files{}, []geo.Network{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Label: "the company"},
		{Prefix: netip.MustParsePrefix("10.3.0.0/16"), Label: "Frankfurt"},
		{Prefix: netip.MustParsePrefix("fd00::/8"), Label: "management"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]geo.Place{
		"10.1.2.3":        {ASOrg: "the company", ASNetwork: "10.0.0.0/8"},
		"::ffff:10.3.0.1": {ASOrg: "Frankfurt", ASNetwork: "10.3.0.0/16"},
		"fd00::1%eth0":    {ASOrg: "management", ASNetwork: "fd00::/8"},
		"192.0.2.1":       {},
		"nonsense":        {},
	} {
		e := event.Event{ClientIP: address}
		g.Enrich(&e)
		if e.ASOrg != want.ASOrg || e.ASNetwork != want.ASNetwork {
			t.Errorf("%s is %q in %q, want %+v", address, e.ASOrg, e.ASNetwork, want)
		}
	}
}
