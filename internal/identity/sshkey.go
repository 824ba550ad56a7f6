package identity

import (
	"context"
	"crypto/rsa"
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// SSHKey is a public key with which a user signs requests.
type SSHKey struct {
	User        string `json:"user"` // id of its owner
	Name        string `json:"name"`
	PublicKey   string `json:"public_key"` // as in authorized_keys (sshd(8)), without options and comment
	Fingerprint string `json:"fingerprint"`
}

var sshKeys = state.Collection[SSHKey]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "ssh_key",
	Name: func(k *SSHKey) string { return k.Name },
	Keys: func(k *SSHKey) map[string]string {
		return map[string]string{"fingerprint": k.Fingerprint, "of " + k.User: k.Fingerprint}
	},
	Check: func(k *SSHKey) error { return checkName("an SSH key", k.Name) },
}

// parseKey reads a public key and refuses weak ones: DSA, and RSA of less than
// 2048 bits (NIST SP 800-131A).
func parseKey(line string) (ssh.PublicKey, string, error) {
	if len(line) > 16<<10 {
		return nil, "", event.Invalidf("public_key: it is too long for one")
	}
	key, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, "", event.Invalidf("public_key: it must be one line of a file such as id_ed25519.pub")
	}
	if _, isCertificate := key.(*ssh.Certificate); isCertificate {
		return nil, "", event.Invalidf("public_key: certificates are not taken, give the key itself")
	}
	if key.Type() == ssh.InsecureKeyAlgoDSA { //nolint:staticcheck // named to be refused
		return nil, "", event.Invalidf("public_key: DSA is broken, use Ed25519")
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			return nil, "", event.Invalidf("public_key: RSA of %d bits is too weak, use Ed25519", r.N.BitLen())
		}
	}
	return key, comment, nil
}

// SSHKeys lists a user's keys.
func (i *Identity) SSHKeys(ctx context.Context, who *Principal, user state.ObjectID) ([]state.Record[SSHKey], error) {
	if _, err := i.account(ctx, who, user); err != nil {
		return nil, err
	}
	return listOf(ctx, i.state.Reader(), &sshKeys, "of "+user.String())
}

// AddSSHKey gives a user a key. name may be empty: then it is the comment of the
// line.
func (i *Identity) AddSSHKey(ctx context.Context, by state.Cause, who *Principal, user state.ObjectID, name, line string) (r state.Record[SSHKey], err error) {
	u, err := i.account(ctx, who, user)
	if err != nil {
		return r, err
	}
	if err := errors.Join(who.own("SSH keys"), who.fresh(user)); err != nil {
		return r, err
	}
	key, comment, err := parseKey(line)
	if err != nil {
		return r, err
	}
	if name == "" {
		name = comment
	}
	k := SSHKey{
		User: user.String(), Name: name, Fingerprint: ssh.FingerprintSHA256(key),
		PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))),
	}
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		if r, err = sshKeys.Insert(tx, k); err != nil {
			return err
		}
		return raiseUser(tx, "user.ssh.key.created", u, "SSH key added to user account")
	})
	return r, err
}

// GetSSHKey returns one key of a user.
func (i *Identity) GetSSHKey(ctx context.Context, who *Principal, user, id state.ObjectID) (r state.Record[SSHKey], err error) {
	if _, err := i.account(ctx, who, user); err != nil {
		return r, err
	}
	r, err = sshKeys.Get(ctx, i.state.Reader(), id)
	if err == nil && r.Value.User != user.String() {
		err = event.NotFoundf("there is no ssh_key %d", id)
	}
	return r, err
}

// DeleteSSHKey takes a key from a user, at once.
func (i *Identity) DeleteSSHKey(ctx context.Context, by state.Cause, who *Principal, user, id state.ObjectID, version int64) error {
	if _, err := i.GetSSHKey(ctx, who, user, id); err != nil {
		return err
	}
	if err := who.own("SSH keys"); err != nil {
		return err
	}
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		u, err := users.Get(ctx, tx, user)
		if err != nil {
			return err
		}
		if _, err := sshKeys.Delete(tx, id, version); err != nil {
			return err
		}
		return raiseUser(tx, "user.ssh.key.deleted", u, "SSH key removed from user account")
	})
}

func dropSSHKeys(tx *state.Tx, user state.ObjectID) error {
	list, err := listOf(tx.Context(), tx, &sshKeys, "of "+user.String())
	for _, r := range list {
		if _, err := sshKeys.Delete(tx, r.ID, state.AnyVersion); err != nil {
			return err
		}
	}
	return err
}
