package state

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
)

// Sealer keeps secrets that must be read again: AES-256-GCM with a random nonce,
// bound to what the secret is for, so that one can't be put in another's place.
type Sealer struct{ aead cipher.AEAD }

// Sealer is the one whose key is derived for a purpose.
func (k Key) Sealer(purpose string) *Sealer {
	block, err := aes.NewCipher(k.Derive(purpose))
	if err != nil {
		panic("state: seal: " + err.Error()) // only for lengths that Derive does not give
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("state: seal: " + err.Error()) // AES has the block size that GCM wants
	}
	return &Sealer{aead}
}

// Close seals a secret. what names its place; only the same what opens it.
func (s *Sealer) Close(what, plain string) string {
	return base64.RawStdEncoding.EncodeToString(s.aead.Seal(nil, nil, []byte(plain), []byte(what))) //nolint:gosec // the cipher makes a random nonce by itself
}

// Open reads what Close has sealed. It fails where the key file or what is
// another one.
func (s *Sealer) Open(what, sealed string) (string, error) {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return "", fmt.Errorf("unseal: %w", err)
	}
	plain, err := s.aead.Open(nil, nil, raw, []byte(what))
	if err != nil {
		return "", errors.New("unseal: the key file is not the one that sealed this")
	}
	return string(plain), nil
}
