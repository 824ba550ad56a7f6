package web

import (
	"fmt"
	"strings"
	"testing"
)

// A QR code has its three finders where cameras look for them, and light ground
// around it (ISO/IEC 18004, 5.3).
func TestDrawQR(t *testing.T) {
	code, err := drawQR("otpauth://totp/Tocsin:ann?algorithm=SHA1&digits=6&issuer=Tocsin&period=30&secret=" + strings.Repeat("A", 32))
	if err != nil {
		t.Fatal(err)
	}
	dark := map[[2]int]bool{}
	for step := range strings.SplitSeq(strings.TrimPrefix(code.Path, "M"), "M") {
		var x, y, w, back int
		if _, err := fmt.Sscanf(step, "%d %dh%dv1h-%dz", &x, &y, &w, &back); err != nil || w != back || w < 1 {
			t.Fatalf("path step %q: %v", step, err)
		}
		for i := range w {
			dark[[2]int{x + i, y}] = true
		}
	}
	const finder = 7
	far := code.Size - qrMargin - finder
	for _, corner := range [][2]int{{qrMargin, qrMargin}, {far, qrMargin}, {qrMargin, far}} {
		for y := range finder {
			for x := range finder {
				edge := x == 0 || y == 0 || x == finder-1 || y == finder-1
				core := x >= 2 && x <= 4 && y >= 2 && y <= 4
				if got, want := dark[[2]int{corner[0] + x, corner[1] + y}], edge || core; got != want {
					t.Errorf("finder at %v, module %d %d: dark is %t", corner, x, y, got)
				}
			}
		}
	}
	for at := range dark {
		if min(at[0], at[1]) < qrMargin || max(at[0], at[1]) >= code.Size-qrMargin {
			t.Errorf("module %v lies in the margin", at)
		}
	}
	if modules := code.Size - 2*qrMargin; modules%4 != 1 || len(dark) < modules*modules/3 {
		t.Errorf("%d modules a side, %d of them dark", modules, len(dark))
	}
	if _, err := drawQR(strings.Repeat("x", 5000)); err == nil {
		t.Error("a text too long for any code is drawn")
	}
}
