package web

import (
	"net/http"
	"net/url"
)

// unsubscribePath is where the links of mails lead (RFC 8058). Whoever has such a
// link may follow it: mail programs post to it by themselves, without a session
// and from anywhere.
const unsubscribePath = "/unsubscribe"

type unsubscribeView struct {
	Rule, Action, Said string
	Problem            *problem
}

// getUnsubscribe asks whether the mails of a rule are to end. Programs that only
// look at a link end nothing.
func (s *Server) getUnsubscribe(w http.ResponseWriter, r *http.Request) error {
	of, err := unsubscribeLink(r)
	if err != nil {
		return err
	}
	name, err := s.Notify.UnsubscribeFrom(r.Context(), of)
	return s.showUnsubscribe(w, r, unsubscribeView{Rule: line(name), Action: unsubscribePath + "?of=" + url.QueryEscape(of)}, err)
}

// postUnsubscribe ends them, for people and for mail programs. What a program
// sends, as a form of either kind, says nothing that the link does not.
func (s *Server) postUnsubscribe(w http.ResponseWriter, r *http.Request) error {
	of, err := unsubscribeLink(r)
	if err != nil {
		return err
	}
	if _, err := readForm(w, r, "List-Unsubscribe"); err != nil {
		return err
	}
	name, err := s.Notify.Unsubscribe(r.Context(), cause(r), of)
	return s.showUnsubscribe(w, r, unsubscribeView{Said: "“" + line(name) + "” tells you no more."}, err)
}

func unsubscribeLink(r *http.Request) (string, error) {
	q := readQuery(r, "of")
	return q.text("of"), q.err
}

func (s *Server) showUnsubscribe(w http.ResponseWriter, r *http.Request, v unsubscribeView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	if v.Problem != nil {
		v.Rule, v.Said = "", ""
	}
	return s.renderStatus(w, r, status, "unsubscribe", pageView{Title: "Unsubscribe", Says: "Ends the messages of one rule to one person.", Body: v})
}
