package identity

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// The brake slows guessing. After freeTries failures, each further one doubles
// the time until the next try is looked at: up to a minute for an account, so
// that nobody can be locked out for long, and up to maxWait for an address.
const (
	freeTries  = 5
	firstWait  = time.Second
	accountMax = time.Minute
	maxWait    = 15 * time.Minute
	forget     = 30 * time.Minute
	brakeKeys  = 100_000
)

// SlowDown tells a caller to try again after Wait.
type SlowDown struct { //nolint:errname // it reads as what it says
	Wait time.Duration
}

func (s *SlowDown) Error() string {
	return fmt.Sprintf("too many failed attempts: try again in %d seconds", int(s.Wait.Seconds())+1)
}

type brake struct {
	mu    sync.Mutex // guards tries
	tries map[string]*try
}

type try struct {
	failures int
	next     time.Time // no try is looked at before
	last     time.Time
}

func newBrake() *brake { return &brake{tries: map[string]*try{}} }

func brakeKeysOf(address, account string) [2]string {
	account = strings.ToLower(account)
	if len(account) > maxUsername { // a stranger must not fill the memory with names
		account = hashToken(account)
	}
	return [2]string{"address " + network(address), "account " + account}
}

// network is the unit in which addresses are counted: an IPv6 customer has a
// /64 to choose from.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return address
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

// wait is how long this address and account must wait; 0 for not at all.
func (b *brake) wait(address, account string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, longest := time.Now(), time.Duration(0)
	for _, key := range brakeKeysOf(address, account) {
		if t := b.tries[key]; t != nil {
			longest = max(longest, t.next.Sub(now))
		}
	}
	return longest
}

func (b *brake) failed(address, account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.tries) >= brakeKeys {
		b.sweep(now)
	}
	for i, key := range brakeKeysOf(address, account) {
		t := b.tries[key]
		if t == nil || now.Sub(t.last) > forget {
			t = &try{}
			b.tries[key] = t
		}
		t.failures++
		t.last = now
		if over := t.failures - freeTries; over >= 0 {
			longest := maxWait
			if i == 1 {
				longest = accountMax
			}
			t.next = now.Add(min(firstWait<<min(over, 12), longest))
		}
	}
}

// sweep makes room: first what is old, and everything if that is not enough.
func (b *brake) sweep(now time.Time) {
	for key, t := range b.tries {
		if now.Sub(t.last) > forget {
			delete(b.tries, key)
		}
	}
	if len(b.tries) >= brakeKeys {
		clear(b.tries)
	}
}

func (b *brake) succeeded(address, account string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range brakeKeysOf(address, account) {
		delete(b.tries, key)
	}
}
