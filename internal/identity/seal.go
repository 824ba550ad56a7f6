package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

// sealer keeps secrets that must be read again: AES-256-GCM with a random nonce,
// bound to what the secret is for, so that one can't be put in another's place.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) *sealer {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("identity: seal: " + err.Error()) // only for lengths that Derive does not give
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("identity: seal: " + err.Error()) // AES has the block size that GCM wants
	}
	return &sealer{aead}
}

func (s *sealer) close(purpose, plain string) string {
	return base64.RawStdEncoding.EncodeToString(s.aead.Seal(nil, nil, []byte(plain), []byte(purpose))) //nolint:gosec // the cipher makes a random nonce by itself
}

func (s *sealer) open(purpose, sealed string) (string, error) {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return "", fmt.Errorf("unseal: %w", err)
	}
	plain, err := s.aead.Open(nil, nil, raw, []byte(purpose))
	if err != nil {
		return "", errors.New("unseal: the key file is not the one that sealed this")
	}
	return string(plain), nil
}

// randomSecret makes 256 bits in base64url, behind a prefix.
func randomSecret(prefix string) string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}
