package web

import (
	"fmt"
	"image/color"
	"net/http"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// totpView sets one-time passwords up: first the seed, then its first code, then
// the recovery codes. Seed and codes are shown once.
type totpView struct {
	Problem     *problem
	Secret, URI pair
	QR          qrCode
	Codes       []string
}

// qrCode is drawn as SVG of one path: a step of the box is a module.
type qrCode struct {
	Size int // with the margin of four modules (ISO/IEC 18004, 9.1)
	Path string
}

const qrMargin = 4

// drawQR draws a text as a QR code.
func drawQR(text string) (qrCode, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return qrCode{}, fmt.Errorf("qr code: %w", err)
	}
	size := code.Bounds().Dx()
	var path strings.Builder
	for y := range size {
		for x := 0; x < size; x++ {
			from := x
			for x < size && code.At(x, y) == color.Black {
				x++
			}
			if x > from {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", from+qrMargin, y+qrMargin, x-from, x-from)
			}
		}
	}
	return qrCode{size + 2*qrMargin, path.String()}, nil
}

func totpPage(v totpView) pageView {
	return pageView{Title: "One-time passwords", Says: "A second factor: signing in then also asks for a code of your phone.", Active: "/profile", Body: v}
}

// postTOTPPage makes a seed and shows it.
func (s *Server) postTOTPPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	who := callerOf(r).principal
	secret, uri, err := s.Identity.BeginTOTP(r.Context(), cause(r), who, who.User)
	if err != nil {
		return s.profileDone(w, r, "", err)
	}
	v := totpView{Secret: pair{"Secret", secret}, URI: pair{"Address", uri}}
	if v.QR, err = drawQR(uri); err != nil {
		return err
	}
	return s.render(w, r, "totp", totpPage(v))
}

// postConfirmTOTP turns one-time passwords on by the first code, and shows the
// recovery codes.
func (s *Server) postConfirmTOTP(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "otp")
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	codes, err := s.Identity.ConfirmTOTP(r.Context(), cause(r), who, who.User, strings.TrimSpace(form.Get("otp")))
	p, status, err := refusal(err)
	if err != nil {
		return err
	}
	return s.renderStatus(w, r, status, "totp", totpPage(totpView{Problem: p, Codes: codes}))
}

// postEndTOTP turns them off.
func (s *Server) postEndTOTP(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	who := callerOf(r).principal
	return s.profileDone(w, r, "totp-off", s.Identity.DisableTOTP(r.Context(), cause(r), who, who.User))
}
