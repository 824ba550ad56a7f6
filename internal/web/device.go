package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// Requests and answers of the device authorization grant are OAuth's: forms in,
// JSON out, and errors of its own form (RFC 6749, 5.2).

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// answerOAuth answers with an OAuth error where err is one.
func answerOAuth(w http.ResponseWriter, err error) error {
	refused, ok := errors.AsType[identity.OAuthError](err)
	if !ok {
		return err
	}
	status := http.StatusBadRequest
	switch refused {
	case identity.ErrUnknownClient:
		status = http.StatusUnauthorized
	case identity.ErrBusy:
		status = http.StatusServiceUnavailable
	}
	return writeJSON(w, status, map[string]string{"error": string(refused)})
}

// badOAuth answers a request that can't be read.
func badOAuth(w http.ResponseWriter, err error) error {
	return writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": problemOf(err).Detail})
}

// postDevice lets a program without a browser ask to be let in (RFC 8628, 3.1).
func (s *Server) postDevice(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "client_id", "scope")
	if err != nil {
		return badOAuth(w, err)
	}
	code, d, err := s.Identity.BeginDevice(r.Context(), cause(r), form.Get("client_id"))
	if err != nil {
		return answerOAuth(w, err)
	}
	at := s.Base + "/device"
	return writeJSON(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": d.UserCode, "verification_uri": at, "verification_uri_complete": at + "?code=" + url.QueryEscape(d.UserCode),
		"expires_in": int(time.Until(d.Expires).Seconds()), "interval": 5,
	})
}

// postDeviceToken answers the program that asks whether it was let in (RFC 8628,
// 3.4 and 3.5).
func (s *Server) postDeviceToken(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "grant_type", "device_code", "client_id")
	if err != nil {
		return badOAuth(w, err)
	}
	if form.Get("grant_type") != deviceGrant {
		return writeJSON(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type", "error_description": "the grant type is " + deviceGrant})
	}
	got, err := s.Identity.PollDevice(r.Context(), cause(r), form.Get("client_id"), form.Get("device_code"))
	if err != nil {
		return answerOAuth(w, err)
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"access_token": got.Token, "token_type": "Bearer", "expires_in": int(time.Until(got.Expires).Seconds()), "expires_at": got.Expires,
	})
}

type deviceView struct {
	Problem *problem
	Typed   string
	Device  *identity.Device
	Said    string
}

func (s *Server) showDevice(w http.ResponseWriter, r *http.Request, v deviceView, err error) error {
	status := http.StatusOK
	if err != nil {
		if v.Problem = complaint(err); v.Problem == nil {
			return err
		}
		status = v.Problem.Status
	}
	return s.renderStatus(w, r, status, "device", pageView{Title: "Let a program in", Says: "It gets your rights, for a day.", Command: "tocsin login", Body: v})
}

// getDevicePage asks for a program's code, and whether it may come in.
func (s *Server) getDevicePage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "code", "said")
	if q.err != nil {
		return q.err
	}
	v := deviceView{Typed: q.text("code")}
	switch q.text("said") {
	case "approved":
		v.Said = "It is let in: go back to it. Its session is on your profile, where you can end it."
	case "denied":
		v.Said = "It is turned away."
	}
	if v.Typed == "" {
		return s.showDevice(w, r, v, nil)
	}
	d, err := s.Identity.WaitingDevice(r.Context(), cause(r), callerOf(r).principal, v.Typed)
	if err == nil {
		v.Device = &d
	}
	return s.showDevice(w, r, v, err)
}

// postDevicePage decides.
func (s *Server) postDevicePage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "code", "decision")
	if err != nil {
		return err
	}
	decision := form.Get("decision")
	if decision != "approve" && decision != "deny" {
		return event.Invalidf("decision: must be approve or deny")
	}
	p := callerOf(r).principal
	if _, err := s.Identity.WaitingDevice(r.Context(), cause(r), p, form.Get("code")); err != nil {
		return s.showDevice(w, r, deviceView{Typed: form.Get("code")}, err)
	}
	if err := s.Identity.DecideDevice(r.Context(), cause(r), p, form.Get("code"), decision == "approve"); err != nil {
		return s.showDevice(w, r, deviceView{Typed: form.Get("code")}, err)
	}
	said := map[string]string{"approve": "approved", "deny": "denied"}[decision]
	http.Redirect(w, r, "/device?said="+said, http.StatusSeeOther)
	return nil
}
