/* SPDX-License-Identifier: MIT */
/*
 * GnuTLS comes along with libcurl, where LDAP and RTMP use it, and sets itself
 * up in every program that loads it: 0.8 MiB that none of ours needs. This is
 * its documented way to say no (GNUTLS_SKIP_GLOBAL_INIT in gnutls.h); who does
 * use it calls gnutls_global_init first, as both of them do.
 */
__attribute__((visibility("default"))) int _gnutls_global_init_skip(void);

int _gnutls_global_init_skip(void)
{
    return 1;
}
