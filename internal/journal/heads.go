package journal

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// Heads are the ends of a journal's hash chains at one moment, signed. Kept
// somewhere else, they prove later that nothing before them was altered.
type Heads struct {
	Journal   event.ID
	Last      event.Seq // the newest sequence of all classes
	Time      time.Time
	Classes   [classes]Head
	PublicKey ed25519.PublicKey // for convenience: to trust it, compare it with a copy kept elsewhere
	Signature []byte
}

type headsJSON struct {
	Journal   event.ID            `json:"journal"`
	Last      event.Seq           `json:"last"`
	Time      time.Time           `json:"time"`
	Classes   map[string]headJSON `json:"classes"`
	PublicKey []byte              `json:"public_key"`
	Signature []byte              `json:"signature,omitempty"`
}

type headJSON struct {
	Last event.Seq `json:"last"`
	Hash string    `json:"hash"`
}

// MarshalJSON writes hashes in hex, key and signature in base64.
func (h Heads) MarshalJSON() ([]byte, error) {
	j := headsJSON{h.Journal, h.Last, h.Time.UTC(), make(map[string]headJSON, classes), h.PublicKey, h.Signature}
	for c, head := range h.Classes {
		j.Classes[className(c)] = headJSON{head.Last, hex.EncodeToString(head.Hash[:])}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. Errors are of class ErrInvalid.
func (h *Heads) UnmarshalJSON(b []byte) error {
	var j headsJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return event.Invalidf("heads: %w", err)
	}
	*h = Heads{Journal: j.Journal, Last: j.Last, Time: j.Time, PublicKey: j.PublicKey, Signature: j.Signature}
	for name, head := range j.Classes {
		c, err := parseClass(name)
		if err = errors.Join(err, parseHash(&h.Classes[c].Hash, head.Hash)); err != nil {
			return fmt.Errorf("heads: %w", err)
		}
		h.Classes[c].Last = head.Last
	}
	return nil
}

// signed is what the signature covers: the heads in JSON, without it.
func (h *Heads) signed() ([]byte, error) {
	bare := *h
	bare.Signature = nil
	text, err := json.Marshal(bare)
	return append([]byte("tocsin journal heads\n"), text...), err
}

// Check checks the signature against a public key.
func (h *Heads) Check(key ed25519.PublicKey) error {
	text, err := h.signed()
	if err != nil {
		return fmt.Errorf("heads: %w", err)
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, text, h.Signature) {
		return event.Invalidf("the signature of the heads does not fit the public key")
	}
	return nil
}

// Heads gives the present ends of the chains, of what is durable.
func (j *Journal) Heads() (Heads, error) {
	j.mu.Lock()
	h := Heads{Journal: j.identity.ID, Last: j.last, Classes: j.ends}
	j.mu.Unlock()
	h.Time = time.Now().UTC()
	h.PublicKey = j.PublicKey()
	text, err := h.signed()
	if err != nil {
		return Heads{}, fmt.Errorf("heads: %w", err)
	}
	h.Signature = ed25519.Sign(j.identity.key, text)
	return h, nil
}

// PublicKey is the key that checks the journal's heads.
func (j *Journal) PublicKey() ed25519.PublicKey {
	return j.identity.key.Public().(ed25519.PublicKey)
}

// passed remembers which heads a chain has been seen to pass through.
type passed struct {
	want *Heads
	ok   [classes]bool
}

func (p *passed) at(class segment.Class, seq event.Seq, hash segment.Hash) {
	if p.want == nil {
		return
	}
	w := &p.want.Classes[class]
	p.ok[class] = p.ok[class] || w.Last == seq && w.Hash == hash
}
