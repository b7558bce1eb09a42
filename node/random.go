package node

import "crypto/rand"

const (
	letters  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"                                 // of access keys
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" // 6 bits each
)

// randomText returns n characters of 6 random bits each.
func randomText(n int) string { return random(n, alphabet) }

// randomAccessKey returns an access key as AWS forms them: 20 capitals.
func randomAccessKey() string { return "HK" + random(18, letters) }

// random draws n characters of an alphabet whose size divides 256.
func random(n int, alphabet string) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never returns an error
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}
