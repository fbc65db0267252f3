package loopback_test

import (
	"testing"

	"exportd/internal/loopback"
)

func TestIsHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST": true, "127.0.0.1:1": true, "127.9.9.9": true, "[::1]:80": true, "[::1]": true, "::1": true,
		"": false, "example.com": false, "127.0.0.1.example.com": false, "localhost.example.com:80": false, "10.0.0.1": false, "0.0.0.0": false, "[::]:80": false,
		"169.254.169.254": false, "127.1": false, "2130706433": false,
	} {
		if got := loopback.IsHost(host); got != want {
			t.Errorf("IsHost(%q) = %v, want %v", host, got, want)
		}
	}
}
