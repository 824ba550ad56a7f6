package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// postPasswordReset lets a user set a new password by a link, which goes out by
// mail. Where none can be sent, an administrator is told the link.
func (s *Server) postPasswordReset(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	link, err := s.Identity.RequestReset(r.Context(), cause(r), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	out := map[string]any{"mailed": link == ""}
	if link != "" {
		out["link"] = link
	}
	return writeJSON(w, http.StatusAccepted, out)
}

// postAskReset is for those who can't sign in; the answer is always the same.
func (s *Server) postAskReset(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Username string `json:"username"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if in.Username == "" {
		return event.Invalidf("username is needed")
	}
	if err := s.Identity.AskReset(r.Context(), cause(r), in.Username); err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, map[string]string{"detail": "if there is such a user, with an address, a mail is on its way"})
}

// postConfirmReset sets a new password by the link of a reset.
func (s *Server) postConfirmReset(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Token    string `json:"token"`
		Password string `json:"password"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := s.Identity.ConfirmReset(r.Context(), cause(r), in.Token, in.Password); err != nil {
		return err
	}
	return noContent(w)
}

// postVerifyEmail takes the token of a verification link.
func (s *Server) postVerifyEmail(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Token string `json:"token"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	u, err := s.Identity.VerifyEmail(r.Context(), cause(r), in.Token)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"email": u.Value.Email, "email_verified": u.Value.EmailVerified})
}

func (s *Server) postAPIKey(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	key, err := s.Identity.RegenerateAPIKey(r.Context(), cause(r), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"api_key": key})
}

func (s *Server) getTOTP(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	t, err := s.Identity.TOTP(r.Context(), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"enabled": t.Enabled, "pending": t.Pending, "recovery_codes_left": t.RecoveryCodes})
}

// postTOTP makes a seed; it counts once its first code is confirmed.
func (s *Server) postTOTP(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	secret, uri, err := s.Identity.BeginTOTP(r.Context(), cause(r), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"secret": secret, "uri": uri})
}

// confirmTOTP turns the second factor on, and tells the recovery codes once.
func (s *Server) confirmTOTP(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	var in struct {
		OTP string `json:"otp"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	codes, err := s.Identity.ConfirmTOTP(r.Context(), cause(r), callerOf(r).principal, id, in.OTP)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"enabled": true, "recovery_codes": codes})
}

func (s *Server) deleteTOTP(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	if err := s.Identity.DisableTOTP(r.Context(), cause(r), callerOf(r).principal, id); err != nil {
		return err
	}
	return noContent(w)
}

type sshKeyRow struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	PublicKey   string    `json:"public_key"`
	Fingerprint string    `json:"fingerprint"`
	Created     time.Time `json:"created"`
}

func newSSHKeyRow(r state.Record[identity.SSHKey]) sshKeyRow {
	return sshKeyRow{ID: r.ID.String(), Name: r.Value.Name, PublicKey: r.Value.PublicKey, Fingerprint: r.Value.Fingerprint, Created: r.Created}
}

func (s *Server) getSSHKeys(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	all, err := s.Identity.SSHKeys(r.Context(), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	return answerAll(w, r, all, newSSHKeyRow)
}

func (s *Server) postSSHKeys(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	var in struct {
		Name      string `json:"name"`
		PublicKey string `json:"public_key"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Identity.AddSSHKey(r.Context(), cause(r), callerOf(r).principal, id, in.Name, in.PublicKey)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newSSHKeyRow(made))
}

func (s *Server) getSSHKey(w http.ResponseWriter, r *http.Request) error {
	user, err := userOf(r)
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("key"))
	if err != nil {
		return err
	}
	found, err := s.Identity.GetSSHKey(r.Context(), callerOf(r).principal, user, id)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(found.Version))
	return writeJSON(w, http.StatusOK, newSSHKeyRow(found))
}

func (s *Server) deleteSSHKey(w http.ResponseWriter, r *http.Request) error {
	user, version, err := changeUser(r)
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("key"))
	if err != nil {
		return err
	}
	if err := s.Identity.DeleteSSHKey(r.Context(), cause(r), callerOf(r).principal, user, id, version); err != nil {
		return preconditionOf(r, err)
	}
	return noContent(w)
}
