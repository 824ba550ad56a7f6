// Package redact decides what is secret and masks it, before anything is
// written, logged or sent.
//
// It promises: a value under a secret key, or one that looks like a credential,
// is replaced by Mask wherever it stands, so that neither it nor its length can
// be found afterwards; what is not secret stays byte for byte; and the cost is
// one pass over the text. It keeps no state and is safe for concurrent use.
package redact

// Mask stands for every masked value. Its length never changes.
const Mask = "********************"
