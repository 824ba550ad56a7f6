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

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// maxWords is how many words may make up one secret name.
const maxWords = 3

// Key reports whether a key names a secret.
func Key(key string) bool {
	if len(key) > 256 { // nobody's name for a secret, and a hostile one must not cost much
		key = key[:256]
	}
	if plainLower(key) {
		return glued(key) || secretWord(key)
	}
	words := split(key)
	for i := range words {
		for n := i; n < len(words) && n < i+maxWords; n++ {
			if secretWord(strings.Join(words[i:n+1], "")) && !excused(words[n+1:]) {
				return true
			}
		}
		if glued(words[i]) && !excused(words[i+1:]) {
			return true
		}
	}
	return false
}

// excused reports whether the words behind a secret's name say that the value
// is about the secret and not the secret itself, as in "password_change_date".
func excused(rest []string) bool {
	return len(rest) > 0 && harmless[rest[len(rest)-1]]
}

func secretWord(w string) bool {
	if secretWords[w] {
		return true
	}
	singular, plural := strings.CutSuffix(w, "s")
	return plural && secretWords[singular]
}

func glued(w string) bool {
	for _, j := range joinedWords {
		if len(w) > len(j) && strings.Contains(w, j) {
			return true
		}
	}
	return false
}

func plainLower(s string) bool {
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return true
}

// split cuts a key into lower-case words: at everything that is no letter, at a
// capital behind a small letter, and before the last capital of a run of them
// ("HTTPCookie" is "http", "cookie").
func split(key string) []string {
	var words []string
	start := -1
	flush := func(end int) {
		if start >= 0 {
			words = append(words, strings.ToLower(key[start:end]))
		}
		start = -1
	}
	for i := range len(key) {
		c := key[i]
		switch {
		case isUpper(c):
			if start >= 0 && (!isUpper(key[i-1]) || i+1 < len(key) && isLower(key[i+1])) {
				flush(i)
			}
			if start < 0 {
				start = i
			}
		case isLower(c) || c >= 0x80:
			if start < 0 {
				start = i
			}
		default:
			flush(i)
		}
	}
	flush(len(key))
	return words
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
