package redact

import "strings"

// secretWords are the names of secrets, without their separators. A key is
// secret when a run of whole words in it, joined, is one of them: "db_password",
// "apiKeys" and "X-Auth-Token" are, "keyboard", "author" and "compass" are not.
var secretWords = set( //nolint:gochecknoglobals // a constant table, which Go can't write as one
	"password", "passwd", "pwd", "passphrase", "secret", "token", "apikey", "authorization", "cookie",
	"sessionid", "otp", "totp", "pin", "jwt", "bearer", "credential", "cred", "privatekey", "signature",
	"accesskey", "secretkey", "clientsecret", "accesstoken", "refreshtoken", "idtoken", "authtoken", "apitoken",
	"csrf", "csrftoken", "xsrf", "mfacode", "recoverycode", "encryptionkey", "signingkey", "connectionstring", "setcookie",
)

// joinedWords are secret also where they are glued to another word without a
// boundary, as in "sessionid", "dbpassword" or "mytoken2".
var joinedWords = []string{"password", "passwd", "passphrase", "apikey", "privatekey", "sessionid", "authtoken", "accesstoken", "refreshtoken", "clientsecret", "secretkey", "accesskey"} //nolint:gochecknoglobals // a constant table

// harmless are the words that make a key harmless although it names a secret,
// because they say something about the secret: when, which, how many, whether.
var harmless = set( //nolint:gochecknoglobals // a constant table
	"date", "time", "at", "age", "expiry", "expires", "expired", "method", "methods", "type", "count", "length", "policy", "status",
	"name", "kind", "changed", "enabled", "required", "strength", "algorithm", "since", "until", "last", "rotated", "valid", "version",
)

// shortestJoined is the length of the shortest of joinedWords.
const shortestJoined = len("apikey")

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// shapes has, for each first letter, a bit for the length of every secret word
// that begins with it: most words are found harmless without a look into the map.
var shapes = func() (of [256]uint64) { //nolint:gochecknoglobals // a constant table, which Go can't write as one
	for w := range secretWords {
		of[w[0]] |= 3 << len(w) // with an "s" behind it, too
	}
	return of
}()

// glueLetters are the first letters of joinedWords.
const glueLetters = "pasrc"

// maxWords is how many words may make up one secret name.
const maxWords = 3

// Key reports whether a key names a secret.
func Key[T ~string | ~[]byte](key T) bool {
	var w words
	split(&w, key)
	for i := range w.n {
		for n := i; n < w.n && n < i+maxWords; n++ {
			word := w.joined(i, n)
			if (isSecret(word) || i == n && isGlued(word)) && !w.excused(n+1) {
				return true
			}
		}
	}
	return false
}

// words are a key's words in small letters, one behind the other, so that any
// run of them is one piece of text. They live on the stack: Key is asked about
// every member of every event.
type words struct {
	text [maxKey]byte
	ends [maxKey]uint8
	n    int
}

// maxKey is how much of a key is looked at: nobody's name for a secret is longer,
// and a hostile one must not cost much.
const maxKey = 255

func (w *words) start(i int) uint8 {
	if i == 0 {
		return 0
	}
	return w.ends[i-1]
}

func (w *words) joined(first, last int) []byte { return w.text[w.start(first):w.ends[last]] }

// excused reports whether the words from one on say that the value is about the
// secret and not the secret itself, as in "password_change_date".
func (w *words) excused(from int) bool {
	return from < w.n && harmless[string(w.joined(w.n-1, w.n-1))]
}

func isSecret(w []byte) bool {
	if shapes[w[0]]>>(len(w)&63)&1 == 0 || len(w) > 63 {
		return false
	}
	return secretWords[string(w)] || len(w) > 1 && w[len(w)-1] == 's' && secretWords[string(w[:len(w)-1])]
}

// isGlued reports that one word holds a secret's name beside another.
func isGlued(w []byte) bool {
	if len(w) <= shortestJoined {
		return false
	}
	for i := range len(w) - shortestJoined + 1 {
		if strings.IndexByte(glueLetters, w[i]) < 0 {
			continue
		}
		for _, j := range joinedWords {
			if len(w)-i >= len(j) && string(w[i:i+len(j)]) == j {
				return true
			}
		}
	}
	return false
}

// split cuts a key into words: at everything that is no letter, at a capital
// behind a small letter, and before the last capital of a run of them
// ("HTTPCookie" is "http", "cookie").
func split[T ~string | ~[]byte](w *words, key T) {
	if len(key) > maxKey {
		key = key[:maxKey]
	}
	size, inWord := uint8(0), false
	end := func() {
		if inWord {
			w.ends[w.n] = size
			w.n++
		}
		inWord = false
	}
	for i := range len(key) {
		c := key[i]
		switch {
		case isUpper(c):
			if inWord && (!isUpper(key[i-1]) || i+1 < len(key) && isLower(key[i+1])) {
				end()
			}
			c += 'a' - 'A'
		case isLower(c) || c >= 0x80:
		default:
			end()
			continue
		}
		w.text[size] = c
		size++
		inWord = true
	}
	end()
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
