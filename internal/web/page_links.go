package web

import (
	"net/http"
	"strings"

	"github.com/tocsin-events/tocsin/internal/identity"
)

// The pages that links in mails open. The token is behind the # of the address,
// which no server and no log ever sees; link.js moves it into the form, and
// without scripts people paste it.

type linkView struct {
	Problem        *problem
	Said           string
	Username, Name string
	Token          string // what was sent, where it was not what is wrong
	Mail           bool
	Least          int // length of a password
}

// complaint is what a form says that could not be done, to be shown with what
// was typed; nil where it is no fault of who filled it in.
func complaint(err error) *problem {
	if err == nil {
		return nil
	}
	if p := problemOf(err); p.Status < http.StatusInternalServerError {
		return p
	}
	return nil
}

// showLink shows one of these pages, with what went wrong.
func (s *Server) showLink(w http.ResponseWriter, r *http.Request, name string, page pageView, v linkView, err error) error {
	status := http.StatusOK
	if err != nil {
		if v.Problem = complaint(err); v.Problem == nil {
			return err
		}
		status = v.Problem.Status
		if strings.HasPrefix(v.Problem.Detail, "token:") {
			v.Token = ""
		}
	}
	v.Least = identity.MinPassword
	page.Body = v
	return s.renderStatus(w, r, status, name, page)
}

func forgotPage() pageView {
	return pageView{Title: "Forgotten password", Says: "A link to set a new one comes by mail."}
}

// getForgot asks whose password is forgotten.
func (s *Server) getForgot(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	said := ""
	if q.text("said") == "asked" {
		said = "If there is such a user, with an address, a mail is on its way. Its link works for an hour."
	}
	return s.showLink(w, r, "forgot", forgotPage(), linkView{Said: said, Mail: s.Identity.MailReady()}, q.err)
}

// postForgot mails a link; the answer is the same whether there is such a user.
func (s *Server) postForgot(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "username")
	if err != nil {
		return err
	}
	if err := s.Identity.AskReset(r.Context(), cause(r), form.Get("username")); err != nil {
		return s.showLink(w, r, "forgot", forgotPage(), linkView{Username: form.Get("username"), Mail: s.Identity.MailReady()}, err)
	}
	http.Redirect(w, r, "/forgot?said=asked", http.StatusSeeOther)
	return nil
}

func resetPage() pageView {
	return pageView{Title: "New password", Says: "The link works once; all sessions end with the old password."}
}

// getReset asks for a new password.
func (s *Server) getReset(w http.ResponseWriter, r *http.Request) error {
	return s.showLink(w, r, "reset", resetPage(), linkView{}, readQuery(r).err)
}

// postReset sets it.
func (s *Server) postReset(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "token", "password")
	if err != nil {
		return err
	}
	if err := s.Identity.ConfirmReset(r.Context(), cause(r), form.Get("token"), form.Get("password")); err != nil {
		return s.showLink(w, r, "reset", resetPage(), linkView{Token: form.Get("token")}, err)
	}
	http.Redirect(w, r, "/sign-in?said=password", http.StatusSeeOther)
	return nil
}

func verifyEmailPage() pageView {
	return pageView{Title: "Your address", Says: "Says that the address, to which the mail went, is yours."}
}

// getVerifyEmailPage asks whether an address is somebody's. Looking at the page
// is no answer: programs that read mails do that, too.
func (s *Server) getVerifyEmailPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	v := linkView{}
	if q.text("said") == "verified" {
		v.Said = "The address is verified."
	}
	return s.showLink(w, r, "verifyemail", verifyEmailPage(), v, q.err)
}

// postVerifyEmailPage takes the answer.
func (s *Server) postVerifyEmailPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "token")
	if err != nil {
		return err
	}
	if _, err := s.Identity.VerifyEmail(r.Context(), cause(r), form.Get("token")); err != nil {
		return s.showLink(w, r, "verifyemail", verifyEmailPage(), linkView{}, err)
	}
	http.Redirect(w, r, "/verify-email?said=verified", http.StatusSeeOther)
	return nil
}

func acceptPage() pageView {
	return pageView{Title: "You are invited", Says: "Choose a user name and a password, and you have an account."}
}

// getAccept asks somebody who is invited who they are.
func (s *Server) getAccept(w http.ResponseWriter, r *http.Request) error {
	return s.showLink(w, r, "accept", acceptPage(), linkView{}, readQuery(r).err)
}

// postAccept makes their account.
func (s *Server) postAccept(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "token", "username", "name", "password")
	if err != nil {
		return err
	}
	in := identity.Acceptance{Token: form.Get("token"), Username: form.Get("username"), Name: form.Get("name"), Password: form.Get("password")}
	if _, err := s.Identity.Accept(r.Context(), cause(r), in); err != nil {
		return s.showLink(w, r, "accept", acceptPage(), linkView{Username: in.Username, Name: in.Name, Token: in.Token}, err)
	}
	http.Redirect(w, r, "/sign-in?said=welcome", http.StatusSeeOther)
	return nil
}
