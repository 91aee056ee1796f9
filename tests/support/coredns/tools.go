//go:build tools

// Package coredns names the DNS server of the tests' clusters. Comments name the programs.
package coredns

import _ "github.com/coredns/coredns" // coredns
