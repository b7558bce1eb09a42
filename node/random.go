package node

import "crypto/rand"

// alphabet has 64 characters: 6 bits each.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// randomText returns n characters of 6 random bits each.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never returns an error
	for i := range b {
		b[i] = alphabet[b[i]%64]
	}
	return string(b)
}
