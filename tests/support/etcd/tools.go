//go:build tools

// Package etcd names the current etcd that the tests build and run beside Debian's. A comment names the program.
package etcd

import _ "go.etcd.io/etcd/server/v3" // etcd
