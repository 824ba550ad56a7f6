package identity

import (
	"crypto/rand"
	"encoding/base64"
)

// randomSecret makes 256 bits in base64url, behind a prefix.
func randomSecret(prefix string) string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}
