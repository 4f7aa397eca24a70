# fish reads this at the first tab behind fws-ctl: then all fws commands are completed.
fws-pipe --completion fish | source
